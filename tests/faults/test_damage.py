# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints: found and named, and an older one is offered."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest
from absl import logging

from sgcl_jax import errors
from sgcl_jax.runs import checkpoint, digest, history, workdir
from tests import test_train

NUM_FLIPS = 60


@pytest.fixture(scope="module")
def drawn(tiny):
  """Returns the parts of a run and a state of it."""
  parts = tiny()
  return parts, test_train.init_state(parts)


@pytest.fixture(scope="module")
def saved_once(drawn, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("saved")
  parts, current = drawn
  with open_writable(workdir) as checkpoints:
    for step in (3, 5):
      save(checkpoints, parts, current, step)
  return workdir


@pytest.fixture
def saved(saved_once, tmp_path):
  """Returns a workdir with checkpoints of the steps 3 and 5."""
  return shutil.copytree(saved_once, tmp_path / "run")


def open_writable(workdir):
  return contextlib.closing(checkpoint.Checkpoints(workdir, writable=True))


def save(checkpoints, parts, current, step):
  current = current.replace(step=np.int32(step))
  checkpoints.save(current, {"model": parts.identity, "epoch": step})


def restore(workdir, drawn):
  parts, current = drawn
  with contextlib.closing(checkpoint.Checkpoints(workdir)) as checkpoints:
    return checkpoints.restore(current, parts.identity)


def get_files(workdir, step=5):
  folder = workdir / "checkpoints" / str(step)
  return sorted(path for path in folder.rglob("*") if path.is_file())


def get_leaves(current):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(current)]


def test_orbax_logs_nothing(saved, drawn, caplog):
  """Whoever calls it, and the log of others stays as it was."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.DEBUG)
  caplog.set_level("DEBUG", "absl")
  try:
    with open_writable(saved) as checkpoints:
      save(checkpoints, *drawn, 7)
      checkpoints.metadata()
    restore(saved, drawn)
    assert logging.get_verbosity() == logging.DEBUG
  finally:
    logging.set_verbosity(before)
  assert [x.getMessage() for x in caplog.records if x.name == "absl"] == []


def test_no_flipped_bit_goes_unnoticed(saved, drawn):
  """It is refused, or nothing of what is restored has changed."""
  expected = get_leaves(drawn[1].replace(step=np.int32(5)))
  files = get_files(saved)
  sizes = np.cumsum([path.stat().st_size for path in files])
  rng = np.random.default_rng(0)
  refused = 0
  # Every file once, then anywhere.
  places = [*range(len(files)), *[None] * (NUM_FLIPS - len(files))]
  for number in places:
    if number is None:
      number = int(np.searchsorted(sizes, rng.integers(sizes[-1]), "right"))
    path = files[number]
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
    path.write_bytes(damaged)
    try:
      found = get_leaves(restore(saved, drawn))
    except errors.CheckpointError as error:
      refused += 1
      assert "go on from that of step 3" in str(error)
      assert "\n" not in str(error)
    else:
      for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=str(path))
    path.write_bytes(content)
  assert refused > NUM_FLIPS / 2


def test_every_cut_file_is_noticed(saved, drawn):
  expected = get_leaves(drawn[1].replace(step=np.int32(5)))
  for path in get_files(saved):
    content = path.read_bytes()
    for size in (0, len(content) // 2):
      path.write_bytes(content[:size])
      try:
        found = get_leaves(restore(saved, drawn))
      except errors.CheckpointError as error:
        assert "go on from that of step 3" in str(error)
      else:
        for ours, theirs in zip(found, expected, strict=True):
          np.testing.assert_array_equal(ours, theirs, err_msg=str(path))
    path.write_bytes(content)


def test_a_changed_array_is_named(saved, drawn):
  parts, current = drawn
  metadata = saved / "checkpoints" / "5" / "metadata" / "metadata"
  content = json.loads(metadata.read_text())
  (name, *_) = content[digest.ARRAYS]["training"]
  content[digest.ARRAYS]["training"][name] = "0" * 32
  del content[digest.OWN]
  metadata.write_text(json.dumps(content))
  with pytest.raises(errors.CheckpointError, match="damaged: metadata is not"):
    restore(saved, drawn)
  metadata.write_text(json.dumps(digest.seal(content)))
  with pytest.raises(errors.CheckpointError) as caught:
    restore(saved, drawn)
  assert f"checkpoints/5 is damaged: training{name} is not" in str(caught.value)
  # The model alone is whole.
  with contextlib.closing(checkpoint.Checkpoints(saved)) as checkpoints:
    checkpoints.restore_model(current.variables(), parts.identity)


def test_the_older_checkpoint_is_offered_and_works(saved, drawn):
  checkpoints = saved / "checkpoints"
  shutil.rmtree(checkpoints / "5" / "model")
  with pytest.raises(
    errors.CheckpointError, match="move it away to go on from that of step 3"
  ):
    restore(saved, drawn)
  (checkpoints / "5").rename(saved / "damaged")
  assert restore(saved, drawn).step == 3
  shutil.rmtree(checkpoints / "3" / "model")
  with pytest.raises(errors.CheckpointError, match="it is the only one"):
    restore(saved, drawn)


def test_a_checkpoint_under_another_step_is_refused(saved, drawn):
  checkpoints = saved / "checkpoints"
  (checkpoints / "5").rename(checkpoints / "7")
  with pytest.raises(errors.CheckpointError, match="7 is that of step 5"):
    restore(saved, drawn)


def test_a_reader_tries_once_more(saved, drawn):
  """A training deletes the checkpoint that a reader has just found."""
  parts, current = drawn
  with contextlib.closing(checkpoint.Checkpoints(saved)) as reader:
    assert reader.latest() == 5
    with open_writable(saved) as writer:
      for step in (6, 7):
        save(writer, parts, current, step)
    assert not (saved / "checkpoints" / "5").exists()
    assert reader.restore(current, parts.identity).step == 7
    assert reader.metadata()["epoch"] == 7


def test_a_checkpoint_of_an_older_version_has_no_digests(saved, drawn):
  for path in saved.glob("checkpoints/*/metadata/metadata"):
    content = json.loads(path.read_text())
    for key in (digest.ARRAYS, digest.OWN, "step"):
      del content[key]
    path.write_text(json.dumps(content))
  assert restore(saved, drawn).step == 5


def test_config_json_decides_nothing(tmp_path, capsys):
  """The checkpoint has the config; some fields may change."""
  config = {"seed": 1, "data": {"dir": "here"}, "optim": {"num_epochs": 3}}
  folder = tmp_path / "checkpoints" / "5" / "metadata"
  folder.mkdir(parents=True)
  (tmp_path / "checkpoints" / "7.tmp").mkdir()
  metadata = digest.add({"config": config}, {})
  (folder / "metadata").write_text(json.dumps(metadata))
  path = tmp_path / "config.json"
  for text, notice in {
    None: "holds no config.json",
    "": "config.json is damaged",
    "[]": "config.json is damaged (no object)",
    json.dumps({**config, "seed": 2}): "changed: seed is 2, but the checkpoint",
    json.dumps(config): "",
  }.items():
    if text is not None:
      path.write_text(text)
    workdir._notice.cache_clear()
    assert workdir.read_config(tmp_path) == config
    workdir.check_resume(config, tmp_path)
    with pytest.raises(errors.WorkdirError, match="config.seed=1, not 2"):
      workdir.check_resume({**config, "seed": 2}, tmp_path)
    found = capsys.readouterr().err
    assert notice in found and found.count("\n") == bool(notice)
    # Nothing has to be done, so that no remedy is said.
    assert ("checkpoint" in found) == bool(notice) and "--config" not in found
  moved = {**config, "data": {"dir": "there"}}
  path.write_text(json.dumps(moved))
  assert workdir.read_config(tmp_path) == moved
  # Damaged metadata are not believed; the restore names them.
  text = (folder / "metadata").read_text()
  (folder / "metadata").write_text(text.replace('"seed": 1', '"seed": 3'))
  assert workdir.read_config(tmp_path) == moved


def test_another_revision_or_version_is_said():
  now = history.follow(None)()
  assert history.describe_changes(now) == []
  assert history.describe_changes({}) == []
  old = {
    "versions": {**now["versions"], "jax": "0.0.1"},
    "revisions": ["abc", "def"],
  }
  jax_line, code_line = history.describe_changes(old)
  assert jax_line.startswith("jax was 0.0.1 when the checkpoint was saved")
  assert code_line.startswith("the code was def when")
