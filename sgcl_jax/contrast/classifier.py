# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy on the graph instead of a contrast (paper Tab. 11)."""

from sgcl_jax import losses
from sgcl_jax.contrast import base, projection


def make(*, num_classes: int, source: str = "graph") -> base.Contrast:
  """Builds one dense layer from the graph to the classes, without memory.

  Args:
    num_classes: L.
    source: The output to classify, `graph` or `feature`.

  Returns:
    A contrast with one term, `graph_ce`, of weight 1.
  """
  head = projection.GraphClassifier(num_classes)

  def init(key, outputs, num_rows=None):
    del num_rows
    params, _ = projection.init(head, key, base.select(outputs, source))
    return params, None

  def apply(params, memory, outputs, batch, keys, gather=base.keep):
    del keys, gather
    logits = head.apply({"params": params}, base.select(outputs, source))
    terms = {"graph_ce": losses.cross_entropy(logits, batch["label"])}
    logged = {"graph_accuracy": losses.correct(logits, batch["label"])}
    return base.Outcome(terms, memory, logged)

  return base.Contrast(init, apply, base.accept)
