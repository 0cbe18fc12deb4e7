"""Recipes for clusters: what can be checked of them without one."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from seismollm_jax.pod import chips

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
BASH = [path.name for path in sorted(LAUNCH.iterdir()) if path.suffix != ".yaml"]

# Field -> the fields below it; None for anything. Those of the objects that the recipe uses, of
# JobSet v1alpha2 (https://jobset.sigs.k8s.io/docs/reference), and batch/v1 and v1 of Kubernetes.
CONTAINER = {
    "name", "image", "command", "args", "workingDir", "env", "envFrom", "ports", "resources",
    "volumeMounts", "securityContext", "imagePullPolicy", "lifecycle", "livenessProbe",
}  # fmt: skip
POD = {
    "containers", "initContainers", "volumes", "nodeSelector", "restartPolicy", "tolerations",
    "serviceAccountName", "terminationGracePeriodSeconds", "hostNetwork", "dnsPolicy",
    "priorityClassName", "subdomain", "affinity", "schedulingGates",
}  # fmt: skip
JOB = {
    "parallelism", "completions", "completionMode", "backoffLimit", "template", "suspend",
    "activeDeadlineSeconds", "podFailurePolicy", "ttlSecondsAfterFinished", "selector",
    "backoffLimitPerIndex", "maxFailedIndexes", "manualSelector", "managedBy", "successPolicy",
    "podReplacementPolicy",
}  # fmt: skip
JOBSET = {
    "replicatedJobs", "network", "successPolicy", "failurePolicy", "startupPolicy", "suspend",
    "coordinator", "managedBy", "ttlSecondsAfterFinished", "volumeClaimPolicies",
}  # fmt: skip
# https://docs.skypilot.co/en/latest/reference/yaml-spec.html
SKYPILOT = {
    "name", "workdir", "num_nodes", "resources", "envs", "secrets", "volumes", "file_mounts",
    "setup", "run", "config",
}  # fmt: skip
SKYPILOT_RESOURCES = {
    "infra", "accelerators", "accelerator_args", "cpus", "memory", "instance_type", "use_spot",
    "disk_size", "disk_tier", "network_tier", "max_hourly_cost", "image_id", "ports", "labels",
    "autostop", "any_of", "ordered", "job_recovery",
}  # fmt: skip
ACCELERATORS = {"tpu-v5-lite-podslice": "v5e", "tpu-v5p-slice": "v5p", "tpu-v6e-slice": "v6e"}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((LAUNCH / name).read_text())


def test_a_jobset_of_known_fields() -> None:
    found = read("gke_jobset.yaml")
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert set(found["spec"]) <= JOBSET
    (replicated,) = found["spec"]["replicatedJobs"]
    assert set(replicated) <= {"name", "replicas", "template", "groupName", "dependsOn"}
    job = replicated["template"]["spec"]
    assert set(job) <= JOB
    pod = job["template"]["spec"]
    assert set(pod) <= POD
    (container,) = pod["containers"]
    assert set(container) <= CONTAINER
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    # Each a process of its own that is told its number, and all of them anew after a failure.
    assert job["completionMode"] == "Indexed"
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 120


def test_the_slices_of_the_jobset() -> None:
    text = (LAUNCH / "gke_jobset.yaml").read_text()
    rows = re.findall(r"^#   (v\w+:\S+) +(\S+) +(\S+) +(\d+) +(\d+)$", text, re.MULTILINE)
    assert len(rows) == 4
    job = read("gke_jobset.yaml")["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    selector = pod["nodeSelector"]
    labels = [selector[f"cloud.google.com/gke-tpu-{name}"] for name in ("accelerator", "topology")]
    limit = pod["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert (*labels, str(job["parallelism"]), str(limit)) in [row[1:] for row in rows]
    assert job["parallelism"] == job["completions"]
    for topology, accelerator, shape, hosts, on_each in rows:
        assert topology == f"{ACCELERATORS[accelerator]}:{shape}"
        assert chips.parse(topology).chips == int(hosts) * int(on_each)


def test_a_skypilot_task_of_known_fields() -> None:
    found = read("skypilot.yaml")
    assert set(found) <= SKYPILOT
    assert set(found["resources"]) <= SKYPILOT_RESOURCES
    assert set(found["resources"]["accelerator_args"]) <= {"runtime_version", "tpu_name", "tpu_vm"}
    for mount in found["file_mounts"].values():
        assert set(mount) <= {"name", "source", "store", "mode", "persistent"}
    for variable in re.findall(r"\$\{(\w+)\}", str(found["file_mounts"])):
        assert variable in found["envs"]
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n"], input=found[part], text=True, check=True)


@pytest.mark.parametrize("name", BASH)
def test_bash_understands_the_scripts(name: str) -> None:
    assert len(BASH) == 2
    subprocess.run(["bash", "-n", LAUNCH / name], check=True)


def split(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", " "))


def commands() -> dict[str, list[str]]:
    """The arguments of train.py in each recipe."""
    job = read("gke_jobset.yaml")["spec"]["replicatedJobs"][0]["template"]["spec"]
    words = {
        "gke": job["template"]["spec"]["containers"][0]["command"],
        "skypilot": split(read("skypilot.yaml")["run"]),
    }
    for name in ("cloud_tpu.sh", "slurm.sbatch"):
        lines = re.findall(r"^#(?!SBATCH)(.*)$", (LAUNCH / name).read_text(), re.MULTILINE)
        example = re.search(r"(--config=.*?)\n\n", "\n".join(line[1:] for line in lines), re.DOTALL)
        assert example, name
        given = ["--workdir=x"] if name == "cloud_tpu.sh" else []  # the script's own
        words[name] = ["train.py", *given, *split(example[1].split("\n  launch")[0])]
    return {name: found[found.index("train.py") + 1 :] for name, found in words.items()}


@pytest.mark.parametrize("recipe", ["gke", "skypilot", "cloud_tpu.sh", "slurm.sbatch"])
def test_train_takes_the_arguments(recipe: str) -> None:
    """Far enough to read all flags and the configuration, and to miss the other processes."""
    arguments = [word for word in commands()[recipe] if word != "--distributed"]
    result = subprocess.run(
        [sys.executable, "train.py", *arguments, "--num_processes=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert (
        "--coordinator_address, --num_processes and --process_id belong together" in result.stderr
    )


def test_every_recipe_joins_the_others() -> None:
    for path in LAUNCH.iterdir():
        assert "--distributed" in path.read_text(), path


NOTE = """#!/bin/bash
echo "$(basename "$0") $*" >>"$CALLS"
"""


def slurm(tmp_path: Path, srun: str, signal_after_s: float | None = None) -> tuple[int, list[str]]:
    """Runs the SLURM script with commands that write down how they were called."""
    calls = tmp_path / "calls"
    fakes = {"srun": f'echo $$ >"$PID"\n{srun}', "scancel": 'kill "$(cat "$PID")"', "scontrol": ""}
    for name, behaviour in fakes.items():
        (tmp_path / name).write_text(f"{NOTE}\n{behaviour}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    environment |= {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7", "PYTHON": "python3"}
    environment |= {"PID": str(tmp_path / "pid")}
    environment |= {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_RESTART_COUNT": "2"}
    script = subprocess.Popen(
        ["bash", LAUNCH / "slurm.sbatch", "--workdir=my run"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    if signal_after_s is not None:
        with pytest.raises(subprocess.TimeoutExpired):
            script.wait(signal_after_s)
        script.send_signal(signal.SIGUSR1)
    output, _ = script.communicate(timeout=60)
    assert "turn 3 of job 7 on n[1-2]" in output
    return script.returncode, calls.read_text().splitlines()


CALL = "srun --wait=60 --kill-on-bad-exit=0 python3 train.py --distributed --workdir=my run"


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (143, True)])
def test_slurm_runs_what_was_stopped_again(tmp_path: Path, status: int, requeued: bool) -> None:
    code, calls = slurm(tmp_path, f"exit {status}")
    assert code == status
    assert calls == [CALL] + ["scontrol requeue 7"] * requeued


def test_slurm_stops_in_time(tmp_path: Path) -> None:
    # The training saves for a moment after SIGTERM; only then the job goes back.
    training = """
trap 'sleep 1; echo saved >>"$CALLS"; exit 143' TERM
while true; do sleep 0.1; done
"""
    code, calls = slurm(tmp_path, training, signal_after_s=1.0)
    assert code != 0
    assert calls == [CALL, "scancel --signal=TERM 7", "saved", "scontrol requeue 7"]
