# SPDX-License-Identifier: Apache-2.0
"""The JobSet: its parts agree with each other, and main takes its flags."""

import re

import pytest
import yaml

from sgcl_jax import main as main_module
from tests.conftest import ROOT

KUBERNETES = ROOT / "launch" / "kubernetes"


@pytest.fixture(scope="module")
def jobset():
  return yaml.safe_load((KUBERNETES / "jobset.yaml").read_text())


@pytest.fixture(scope="module")
def job(jobset):
  (found,) = jobset["spec"]["replicatedJobs"]
  assert found["replicas"] == 1
  return found["template"]["spec"]


@pytest.fixture(scope="module")
def pod(job):
  return job["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
  (found,) = pod["containers"]
  return found


def find_flag(container, name):
  (found,) = [a for a in container["args"] if a.startswith(f"--{name}=")]
  return found.partition("=")[2]


def test_a_process_per_pod(jobset, job, container):
  """Each gets the address of the first, and its own number."""
  assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert job["completionMode"] == "Indexed"  # Sets JOB_COMPLETION_INDEX.
  count = job["completions"]
  assert count == job["parallelism"] > 1
  assert count == int(find_flag(container, "num_processes"))
  assert find_flag(container, "process_id") == "$(JOB_COMPLETION_INDEX)"
  coordinator = jobset["spec"]["coordinator"]
  (replicated,) = jobset["spec"]["replicatedJobs"]
  assert coordinator["replicatedJob"] == replicated["name"]
  assert (coordinator["jobIndex"], coordinator["podIndex"]) == (0, 0)
  address, port = find_flag(container, "coordinator").split(":")
  assert {"containerPort": int(port)} in container["ports"]
  env = {entry["name"]: entry for entry in container["env"]}
  source = env[address.strip("$()")]["valueFrom"]["fieldRef"]["fieldPath"]
  assert source == "metadata.annotations['jobset.sigs.k8s.io/coordinator']"


def test_a_preempted_pod_saves_and_all_start_again(jobset, job, pod, container):
  """Only `restartPolicy: Never` allows a policy for failed pods."""
  assert pod["terminationGracePeriodSeconds"] >= 60
  assert pod["restartPolicy"] == "Never" and job["backoffLimit"] == 0
  assert pod["shareProcessNamespace"] is True
  on_eviction, on_stop = job["podFailurePolicy"]["rules"]
  assert on_eviction["action"] == on_stop["action"] == "FailJob"
  (condition,) = on_eviction["onPodConditions"]
  assert condition == {"type": "DisruptionTarget", "status": "True"}
  codes = on_stop["onExitCodes"]
  assert codes["containerName"] == container["name"]
  assert (codes["operator"], codes["values"]) == ("In", [143])
  policy = jobset["spec"]["failurePolicy"]
  assert policy["restartStrategy"] == "BlockingRecreate"
  (rule,) = policy["rules"]
  assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert policy["maxRestarts"] > 0


def test_the_pods_share_a_disk(pod, container):
  """Data, workdir and cache lie in it, and it is no directory of one pod."""
  volumes = {volume["name"]: volume for volume in pod["volumes"]}
  mounts = {
    m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]
  }
  (place,) = (p for p, v in mounts.items() if "persistentVolumeClaim" in v)
  env = {entry["name"]: entry.get("value") for entry in container["env"]}
  assert find_flag(container, "workdir").startswith(f"{place}/")
  assert find_flag(container, "config.data.dir").startswith(f"{place}/")
  assert env["JAX_COMPILATION_CACHE_DIR"].startswith(f"{place}/")
  assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"


def test_main_takes_its_flags(container, monkeypatch):
  seen = []

  def run(args, config):
    seen.append((args, config))
    return {}

  monkeypatch.setattr(main_module, "_run", run)
  monkeypatch.chdir(ROOT)
  assert container["command"] == ["python", "-m", "sgcl_jax.main"]
  flags = [
    flag.replace("$(COORDINATOR)", "pod.set") for flag in container["args"]
  ]
  main_module.main([f.replace("$(JOB_COMPLETION_INDEX)", "1") for f in flags])
  ((args, config),) = seen
  assert config.data.dir == find_flag(container, "config.data.dir")
  assert (args.coordinator, args.num_processes, args.process_id) == (
    "pod.set:8476",
    2,
    1,
  )


def test_the_image_installs_an_extra_that_exists():
  text = (KUBERNETES / "Dockerfile").read_text()
  (extra,) = re.findall(r'--editable "\.\[(\w+)\]"', text)
  assert f'"{extra}": ["jax[{extra}]"]' in (ROOT / "setup.py").read_text()
  ignored = (KUBERNETES / "Dockerfile.dockerignore").read_text().splitlines()
  assert {".venv", "data", "runs"} <= set(ignored)
