# SPDX-License-Identifier: Apache-2.0
"""The contrast with the batch's other clips, without banks (paper Tab. 3)."""

from sgcl_jax.contrast import base, losses, projection


def make(
  *,
  num_classes: int,
  temperature: float,
  source: str = "graph",
  loss: str = "infonce",
  margin: float = 0.2,
  projection_layers: int = 1,
  features: int = 256,
) -> base.Contrast:
  """Builds the contrast; for the arguments see `paper.make`.

  Returns:
    A contrast with one term, `batch`, and no memory. The gradient flows to both
    sides. An anchor without a positive or a negative does not count.
  """
  head = projection.ProjectionHead(num_classes, features, projection_layers)
  pair_loss = losses.make_pair_loss(loss, temperature, margin)

  def init(key, outputs, num_rows=None):
    del num_rows
    params, _ = projection.init(head, key, base.select(outputs, source))
    return params, None

  def apply(params, memory, outputs, batch, keys, gather=base.keep):
    del keys
    embeddings = head.apply({"params": params}, base.select(outputs, source))
    # Each replica contrasts the whole batch. The sums and the counts over R
    # replicas are both R times as large, so that the mean is the same.
    sums = losses.batch_loss(
      gather(embeddings), gather(batch["label"]), pair_loss
    )
    terms, logged = losses.report({"batch": sums})
    return base.Outcome(terms, memory, logged)

  return base.Contrast(init, apply, base.accept)
