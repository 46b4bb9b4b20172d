# SPDX-License-Identifier: Apache-2.0
"""Files of the CTR-GCN family: equal records, small memory, refusals."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest

from data_prep import ctrgcn_npz, ntu60, ntu120, synthetic
from data_prep.held import npz
from data_prep.ntu import skeleton_file
from sgcl_jax import errors, input_pipeline
from tests.conftest import ROOT
from tests.data_prep.ntu import conversion
from tests.data_prep.ntu.raw_text import make_joints


def run(raw, *args):
  out = raw.parent / "out"
  ctrgcn_npz.main(["--raw", str(raw), "--out", str(out), *map(str, args)])
  return out


def module_set(module):
  return {ntu60: ntu60.NTU60, ntu120: ntu120.NTU120}[module]


def make_rows(clips, num_classes=60):
  """Rows and one-hot labels of clips (label, [T, 2, 25, 3])."""
  x = np.zeros((len(clips), 300, 150), np.float32)
  y = np.zeros((len(clips), num_classes))
  for i, (label, joints) in enumerate(clips):
    x[i, : len(joints)] = joints.reshape(len(joints), -1)
    y[i, label] = 1
  return x, y


def write(path, train, test, num_classes=60, save=np.savez):
  arrays = {}
  for part, clips in (("train", train), ("test", test)):
    arrays[f"x_{part}"], arrays[f"y_{part}"] = make_rows(clips, num_classes)
  save(path, **arrays)


def make_clip(seed, num_frames=12):
  joints = make_joints(seed, num_frames)
  return np.stack([joints, joints * 0], axis=1)


@pytest.mark.parametrize("aligned", [False, True], ids=["", "aligned"])
@pytest.mark.parametrize(
  ("module", "name", "protocol"),
  [(ntu60, "NTU60_CV", "xview"), (ntu120, "NTU120_CSet", "xset")],
)
def test_records_equal_those_of_the_raw_files(
  tmp_path, capsys, module, name, protocol, aligned
):
  """To the bit, in the order of the file."""
  synthetic.write(tmp_path / "raw", seed=0, clips_per_class=2)
  conversion.run(tmp_path / "raw", tmp_path / "plain", module=module)
  args = ["--align"] if aligned else []
  conversion.run(tmp_path / "raw", tmp_path / "ours", *args, module=module)
  plain = conversion.read(tmp_path / "plain")
  names = sorted(plain)[::7] + sorted(plain)[1::7]  # Another order.
  members = {"train": [], "test": []}
  for clip in names:
    cell = module.get_cell(skeleton_file.parse_name(clip))
    members["train" if f"{protocol}_train" in cell else "test"].append(clip)
  assert all(members.values())
  write(
    tmp_path / f"{name}.npz",
    *(
      [(plain[clip]["label"], plain[clip]["skeleton"]) for clip in clips]
      for clips in members.values()
    ),
    num_classes=len(module.ACTIONS),
  )
  out = run(tmp_path / f"{name}.npz", *args)
  text = capsys.readouterr().out
  backbone = "infogcn" if aligned else "ctrgcn"
  config = f"--config {backbone}_{name.split('_')[0].lower()}"
  assert f"{config}:split={protocol} --config.data.dir={out}" in text
  expected = conversion.read(tmp_path / "ours")
  for part, clips in members.items():
    found = input_pipeline.load(out, f"{protocol}_{part}")
    assert found.class_names == module.ACTIONS
    assert found.metadata["aligned"] is aligned
    assert found.metadata["lone_person"] == module_set(module).lone_person
    for i, clip in enumerate(clips):
      assert int(found.names[i].split("_")[1]) == i
      assert found.labels[i] == expected[clip]["label"]
      np.testing.assert_array_equal(
        found.skeletons[i], expected[clip]["skeleton"]
      )


def test_the_padding_alone_is_cut():
  joints = make_clip(0, 9)
  joints[4] = 0
  rows, _ = make_rows([(0, joints)])
  np.testing.assert_array_equal(ctrgcn_npz.read_clip(rows[0]), joints)
  assert ctrgcn_npz.read_clip(rows[0].astype("f8")).dtype == np.float32


def test_memory_does_not_grow_with_the_file(tmp_path):
  """300 MB of joints, compressed, are converted within 60 MB more."""
  x = np.zeros((1700, 300, 150), np.float32)
  x[:, :5] = np.random.default_rng(0).normal(size=(5, 150))
  y = np.eye(60)[np.arange(len(x)) % 60]
  file = tmp_path / "NTU60_CS.npz"
  np.savez_compressed(file, x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
  program = (
    "import resource, sys, tensorflow_datasets\n"
    "from data_prep import ctrgcn_npz\n"
    "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "before = peak()\n"
    "ctrgcn_npz.main(sys.argv[1:])\n"
    "print('grown', peak() - before, file=sys.stderr)\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, f"--raw={file}", f"--out={tmp_path / 'o'}"],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  unit = 1 if sys.platform == "darwin" else 1024
  assert int(done.stderr.split()[-1]) * unit < 60e6 < x.nbytes / 5


def test_the_protocol_is_known_by_name_or_option(tmp_path):
  clips = [(0, make_clip(0))], [(1, make_clip(1))]
  file = tmp_path / "mine.npz"
  write(file, *clips)
  with pytest.raises(errors.DataError, match="add --split xsub or xview"):
    run(file)
  with pytest.raises(errors.DataError, match="no protocol xset"):
    run(file, "--split=xset")
  run(file, "--split=xview")
  assert len(input_pipeline.load(tmp_path / "out", "xview_test")) == 1
  with pytest.raises(errors.DataError, match="exists already"):
    run(file, "--split=xview")
  aligned = tmp_path / "NTU60_CS_aligned.npz"
  write(aligned, *clips)
  with pytest.raises(errors.DataError, match="is aligned by its name"):
    run(aligned, "--align", "--overwrite")
  run(aligned, "--overwrite")
  found = input_pipeline.load(tmp_path / "out", "xsub_test")
  assert found.metadata["aligned"] is True


def test_other_sets(tmp_path, capsys):
  file = tmp_path / "pku.npz"
  write(file, [(0, make_clip(0)), (11, make_clip(1))], [(3, make_clip(2))], 12)
  out = run(file)
  text = capsys.readouterr().out
  assert f"ctrgcn_custom:preset=small --config.data.dir={out}" in text
  found = input_pipeline.load(out, "train")
  assert found.class_names[11] == "class 11" and list(found.labels) == [0, 11]
  assert input_pipeline.describe(out) == {
    "num_classes": 12,
    "num_persons": 2,
    "skeleton": "ntu",
  }
  names = tmp_path / "names.txt"
  names.write_text("a\nb\n")
  with pytest.raises(errors.DataError, match="2 names, but the file has 12"):
    run(file, "--overwrite", "--names", names)
  names.write_text("a\na\n")
  with pytest.raises(errors.DataError, match="line 2: 'a' comes twice"):
    run(file, "--overwrite", "--names", names)


def test_broken_rows_are_listed_or_left_out(tmp_path, capsys):
  clips = [(i, make_clip(i)) for i in range(5)]
  x, y = make_rows(clips)
  x[1], x[2, 3, 7], y[3, 9], y[4] = 0, np.nan, 1, 0
  file = tmp_path / "NTU60_CS.npz"
  np.savez(file, x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
  with pytest.raises(errors.DataError) as caught:
    run(file)
  assert [line.strip() for line in str(caught.value).splitlines()] == [
    "4 clips are broken, nothing was written:",
    "row 1 of train: all joints of all frames are zero",
    "row 2 of train: frame 3 has a number that is not finite",
    "row 3 of train: its row of y is not one 1 among zeros",
    "row 4 of train: its row of y is not one 1 among zeros",
    "To leave them out, add --skip_broken.",
  ]
  assert [path.name for path in tmp_path.iterdir()] == [file.name]
  out = run(file, "--skip_broken")
  assert "left out: 4 broken clips" in capsys.readouterr().out
  assert list(input_pipeline.load(out, "xsub_train").names) == ["train_0"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"x_test": None}, "has no array x_test"),
    ({"x_test": np.zeros((2, 300, 75))}, "of shape .clips, frames, 150."),
    ({"x_test": np.zeros((2, 300, 150), int)}, "int64 of shape"),
    ({"x_test": np.array([{}], object)}, "object of shape .1,., no table"),
    ({"y_test": np.zeros(2)}, r"y_test has shape \(2,\), not \(2, classes\)"),
    ({"y_test": np.zeros((3, 60))}, r"y_test has shape \(3, 60\)"),
    ({"y_test": np.zeros((2, 59))}, "have 59 and 60 classes"),
    ({"x_test": np.zeros((150, 300, 2)).T}, "stored by columns"),
  ],
)
def test_arrays_of_another_form_are_refused(tmp_path, changes, message):
  x, y = make_rows([(0, make_clip(0)), (1, make_clip(1))])
  arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y} | changes
  file = tmp_path / "NTU60_CS.npz"
  np.savez(file, **{k: v for k, v in arrays.items() if v is not None})
  with pytest.raises(errors.DataError, match=message):
    run(file)
  assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_damaged_files_are_named(tmp_path):
  file = tmp_path / "NTU60_CS.npz"
  clips = [(i, make_clip(i)) for i in range(4)]
  for save in (np.savez, np.savez_compressed):
    write(file, clips, clips, save=save)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    with pytest.raises(errors.DataError, match="NTU60_CS.npz: x_.*damaged"):
      run(file)
    file.write_bytes(data[:-99])
    with pytest.raises(errors.DataError, match="no .npz file, or it is"):
      run(file)
  with pytest.raises(errors.DataError, match="is no file"):
    run(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_header_that_claims_too_much_allocates_nothing(tmp_path):
  file = tmp_path / "NTU60_CS.npz"
  with zipfile.ZipFile(file, "w") as archive:
    for name, shape in {
      "rows": (10**12, 300, 150),
      "width": (1, 10**9, 150),
    }.items():
      with archive.open(f"{name}.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
          member, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
  reader = npz.Reader(file)
  with pytest.raises(errors.DataError, match="rows claims the shape"):
    next(reader.rows("rows"))
  with pytest.raises(errors.DataError, match="width claims the shape"):
    next(reader.rows("width"))
  reader.close()


def test_closing_closes_the_file_amid_a_row(tmp_path):
  np.savez(tmp_path / "x.npz", x=np.zeros((4, 3)))
  reader = npz.Reader(tmp_path / "x.npz")
  rows = reader.rows("x")
  next(rows)
  reader.close()
  assert reader._file.closed
