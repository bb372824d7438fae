"""The recipes of the guide for clusters are of the right form."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from keras_ext.distribute._cluster import cluster_of

GUIDE = Path(__file__).parents[2] / "docs" / "pages" / "guides" / "distribute.md"


def block(language):
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    return text


@pytest.fixture
def manifest():
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(block("yaml")))


def test_manifest(manifest):
    service, job = manifest
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
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
    assert "\nsrun " in script
