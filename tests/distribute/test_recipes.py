"""The recipes of the guide for clusters are of the right form, its output is true."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_ext.distribute import _messages
from keras_ext.distribute._cluster import cluster_of
from tests.thorough import PROCESSES

GUIDE = Path(__file__).parents[2] / "docs" / "pages" / "guides" / "distribute.md"


def block(language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    return text


@pytest.fixture
def manifest():
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(block("yaml")))


def test_manifest(manifest):
    service, job, policy = manifest
    kinds = [(part["apiVersion"], part["kind"]) for part in manifest]
    assert kinds == [
        ("v1", "Service"),
        ("batch/v1", "Job"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ]
    spec, template = job["spec"], job["spec"]["template"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    # The names of the pods are found if these agree.
    assert template["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in template["spec"]["volumes"]}
    # Only the pods of the training come to them, and all know the same token.
    ((peer,),) = [rule["from"] for rule in policy["spec"]["ingress"]]
    for selector in (policy["spec"]["podSelector"], peer["podSelector"]):
        assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
    (variable,) = container["env"]
    assert variable["name"] == _messages.TOKEN
    assert set(variable["valueFrom"]["secretKeyRef"]) == {"name", "key"}


@pytest.mark.parametrize("index", [0, 1])
def test_command_of_a_pod(manifest, index):
    (container,) = manifest[1]["spec"]["template"]["spec"]["containers"]
    shell, option, command = container["command"]
    command = command.replace("exec python train.py", 'printf %s "$TF_CONFIG"')
    found = subprocess.run(
        [shell, option, command],
        env={"JOB_COMPLETION_INDEX": str(index), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(found)["task"] == {"type": "worker", "index": index}
    cluster = cluster_of(environment={"TF_CONFIG": found})
    assert cluster.index == index
    ports = {a.partition(":")[2] for a in cluster.addresses}
    assert ports == {str(manifest[0]["spec"]["ports"][0]["port"])}
    name = manifest[1]["metadata"]["name"]
    hosts = [f"{name}-{i}.{name}" for i in range(2)]
    assert [a.partition(":")[0] for a in cluster.addresses] == hosts


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_batch_script():
    script = block("bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert script.startswith("#!/bin/bash\n#SBATCH --")
    assert re.search(rf"\nexport {_messages.TOKEN}=.*\nsrun ", script)


@pytest.fixture
def script(tmp_path):
    """The script of the guide in a file, and the lines that it is to print."""
    text = GUIDE.read_text()
    path = tmp_path / "train.py"
    path.write_text(re.search(r"^```python\n(.*?)^```", text, re.M | re.S)[1])
    return path, without_times(re.findall(r"^\[worker 0\] (.*)$", text, re.M))


def without_times(lines):
    return [re.sub(r"\d+[mu]?s(/step)? ?-? ?", "", line) for line in lines]


def test_one_process_prints_what_the_guide_says(script, capsys):
    path, promised = script
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__"})
    assert without_times(capsys.readouterr().out.splitlines()) == promised


@pytest.mark.thorough(PROCESSES)
def test_two_workers_print_what_the_guide_says(script):
    path, promised = script
    command = re.search(r"^\$ python (.* train\.py)$", GUIDE.read_text(), re.M)[1]
    printed = subprocess.run(
        [sys.executable, *command.split()],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    wanted = [f"[worker 0] {line}" for line in promised]
    assert without_times(printed.splitlines()) == wanted
