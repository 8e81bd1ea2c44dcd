"""The manifests in `configs/`: their command lines are bulkup's, and the exit codes that they name mean what they say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bulkup.cli.app import main
from bulkup.errors import ExitCode
from bulkup.run.joining import Joining
from bulkup.run.wish import Upload

CONFIGS = Path(__file__).parents[2] / "configs"


def manifest(name: str) -> Any:
    return yaml.safe_load((CONFIGS / name).read_text())


def container(spec: Any) -> Any:
    (found,) = spec["template"]["spec"]["containers"]
    return found


def mounted(spec: Any) -> set[str]:
    """Where volumes are that the pod has."""
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    mounts = container(spec)["volumeMounts"]
    assert {mount["name"] for mount in mounts} <= volumes
    return {mount["mountPath"] for mount in mounts}


def test_the_workers_of_the_job_are_told_what_bulkup_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = manifest("workers-job.yaml")["spec"]
    program, *arguments = container(spec)["command"]
    asked: list[Joining] = []

    def join(joining: Joining) -> int:
        asked.append(joining)
        return 0

    monkeypatch.setattr("bulkup.run.joining.join", join)
    assert program == "bulkup"
    assert main(arguments) == 0
    assert asked[0].addresses == (("10.0.0.5", 7420),)
    key = arguments[arguments.index("--key") + 1]
    assert str(Path(key).parent) in mounted(spec)
    assert spec["template"]["spec"]["securityContext"]["fsGroup"], "else the key is root's alone"


def test_the_job_does_with_an_exit_code_what_the_code_means() -> None:
    """2: these workers are of no use; 143: they were told to end. Anything else may pass, and is tried again for a while."""
    spec = manifest("workers-job.yaml")["spec"]
    named = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {"values": []})["values"]
    }
    assert named == {ExitCode.USAGE: "FailJob", ExitCode.TERMINATED: "Ignore"}
    names = {
        rule["onExitCodes"]["containerName"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    }
    assert names == {container(spec)["name"]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never", "as podFailurePolicy needs it"
    assert spec["completionMode"] == "Indexed", "as backoffLimitPerIndex needs it"
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 25, "a worker finishes what it sends"


def test_the_ray_job_s_upload_is_told_what_bulkup_understands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = manifest("rayjob.yaml")["spec"]
    shell, flag, line = shlex.split(spec["entrypoint"])
    assert (shell, flag) == ("sh", "-c")
    program, *arguments = shlex.split(line.replace("$(hostname -i)", "10.0.0.5"))
    assert program == "bulkup"
    asked: list[Upload] = []

    def carry_out(upload: Upload, _: Any) -> int:
        asked.append(upload)
        return 0

    monkeypatch.setattr("bulkup.cli.runner.carry_out", carry_out)
    assert main(arguments) == 0
    settings = asked[0].settings
    assert settings.listen == "10.0.0.5:7420"
    cluster = spec["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    for path in (arguments[1], str(settings.state_dir), str(settings.worker_key)):
        assert any(path.startswith(f"{place}/") for place in mounted(group)), path
    wanted = json.loads(spec["entrypointResources"])
    assert wanted == json.loads(json.loads(group["rayStartParams"]["resources"])), "only nodes of the group have them"
    assert "resources" not in cluster["headGroupSpec"]["rayStartParams"]
    cpus = int(container(group)["resources"]["requests"]["cpu"])
    assert int(settings.workers) + spec["entrypointNumCpus"] <= cpus, "the coordinator's node has a worker too"


def test_every_manifest_is_named_in_the_docs() -> None:
    page = (CONFIGS.parent / "docs" / "cluster.md").read_text()
    for path in CONFIGS.glob("*.yaml"):
        assert re.search(rf"configs/{re.escape(path.name)}", page)
