"""An export stands for itself, and refuses to be anything but what was trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny import CLASSES, LABELS, make_backbone, sentences, task_of, train

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load, outline
from trainers.checkpoint import BackboneError, locate
from trainers.export import ExportError, Module, load_export, module_from_bytes, write_export
from trainers.method import METHODS, MethodConfig
from trainers.splits import Split
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of


def make_task(pairs: bool = False) -> Task:
    parts = [sentences(20, seed) for seed in range(3)]
    if pairs:
        parts = [Split(part.texts, part.texts[::-1], part.labels) for part in parts]
    return task_of(*parts, kind="pair-classification" if pairs else "classification")


def trained(backbone: Backbone, config: MethodConfig, task: Task) -> tuple[Module, Logits]:
    stack = Stack(backbone, [Candidate(config, 3)], CLASSES)
    train(stack, 4, "adamw")
    logits = logits_of(stack, tokenise(task.validation, backbone.tokenizer, 32))[0]
    return Module(config, 3, stack.states()[0]), logits


def exported(folder: Path, backbone: Backbone, method: str = "lora", pairs: bool = False) -> Path:
    task = make_task(pairs)
    module, logits = trained(backbone, METHODS[method](), task)
    write_export(folder, module, backbone, task, 32, logits, {"study": "films-1"})
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_reloaded_export_gives_the_trained_logits_and_only_safetensors(
    method: str, backbone: Backbone, tmp_path: Path
) -> None:
    task = make_task()
    module, logits = trained(backbone, METHODS[method](), task)
    difference = write_export(tmp_path / "export", module, backbone, task, 32, logits, {"study": "films-1"})
    assert difference <= 1e-4
    files = {path.name for path in (tmp_path / "export").iterdir()}
    assert files == {"README.md", "module.safetensors", "peltier.json"}
    again = load_export(tmp_path / "export")
    assert np.allclose(again.logits(task.validation), logits, atol=1e-4)
    stored = load_file(tmp_path / "export" / "module.safetensors")
    assert stored.keys() == module.state.keys()
    manifest = json.loads((tmp_path / "export" / "peltier.json").read_text())
    assert manifest["method"] == method
    assert manifest["study"] == "films-1"
    assert manifest["parity"]["largest_difference"] == difference
    assert manifest["parity"]["same_label"] == 1.0


def test_the_same_module_gives_the_same_bytes(backbone: Backbone) -> None:
    module, _ = trained(backbone, METHODS["unipelt"](), make_task())
    assert len({module.to_bytes() for _ in range(20)}) == 1
    again = module_from_bytes(module.to_bytes())
    assert (again.config, again.seed) == (module.config, module.seed)


def test_prediction_is_the_softmax_of_the_logits(backbone: Backbone, tmp_path: Path) -> None:
    task = make_task()
    export = load_export(exported(tmp_path / "export", backbone))
    logits = export.logits(task.test)
    rows = list(export.predict(task.test.texts))
    assert len(rows) == len(task.test)
    for row, values in zip(rows, logits, strict=True):
        chances = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
        assert list(row["probabilities"]) == list(LABELS)
        assert np.allclose(list(row["probabilities"].values()), chances, atol=1e-6)
        assert row["label"] == LABELS[int(values.argmax())]


def test_pairs_are_asked_for_where_the_task_has_them(backbone: Backbone, tmp_path: Path) -> None:
    single = load_export(exported(tmp_path / "single", backbone))
    paired = load_export(exported(tmp_path / "paired", backbone, pairs=True))
    with pytest.raises(ExportError, match="trained on text pairs"):
        list(paired.predict(["good film"]))
    with pytest.raises(ExportError, match="trained on single texts"):
        list(single.predict(["good film"], ["bad film"]))
    assert len(list(paired.predict(["good film"], ["bad film"]))) == 1


def test_nothing_is_released_when_the_logits_differ(backbone: Backbone, tmp_path: Path) -> None:
    task = make_task()
    module, logits = trained(backbone, METHODS["lora"](), task)
    with pytest.raises(ExportError, match=r"differs from the trained one: largest logit difference 1\.0"):
        write_export(tmp_path / "export", module, backbone, task, 32, logits + 1, {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_left_alone(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("four years")
    with pytest.raises(ExportError, match="holds other files"):
        exported(tmp_path, backbone)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_working_folder_and_links_are_left_alone(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in (".", "link"):
        with pytest.raises(ExportError, match="name a new folder"):
            exported(Path(name), backbone)
    assert (tmp_path / "elsewhere").is_dir() and (tmp_path / "link").is_symlink()


def test_an_earlier_export_is_replaced(backbone: Backbone, tmp_path: Path) -> None:
    exported(tmp_path / "export", backbone, "lora")
    exported(tmp_path / "export", backbone, "bitfit")
    assert load_export(tmp_path / "export").manifest["method"] == "bitfit"


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "peltier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_not_a_sound_export_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export", backbone)
    with pytest.raises(ExportError, match="it has no peltier.json"):
        load_export(tmp_path)
    newer = shutil.copytree(folder, tmp_path / "newer")
    edit_manifest(newer, format_version=99)
    with pytest.raises(ExportError, match="upgrade peltier"):
        load_export(newer)
    tampered = shutil.copytree(folder, tmp_path / "tampered")
    content = bytearray((tampered / "module.safetensors").read_bytes())
    content[-1] ^= 1
    (tampered / "module.safetensors").write_bytes(content)
    with pytest.raises(ExportError, match="was changed after the export"):
        load_export(tampered)
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "peltier.json").write_text("{")
    with pytest.raises(ExportError, match="is not JSON"):
        load_export(broken)
    with pytest.raises(ExportError, match="are not a Peltier module"):
        module_from_bytes(b"PK\x03\x04 surely a pickle")


def test_another_backbone_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    folder = exported(tmp_path / "export", backbone)
    other = load(str(make_backbone(tmp_path / "other", "electra")), dtype="fp32")
    with pytest.raises(ExportError, match="has other weights"):
        load_export(folder, other)
    edit_manifest(folder, backbone={"reference": str(tmp_path / "gone"), "weight_hash": ""})
    with pytest.raises(BackboneError, match="neither a folder nor a model"):
        load_export(folder)


def test_unusable_backbones_are_refused_in_one_line(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="has no config.json; give a folder"):
        locate(str(tmp_path))
    pickled = shutil.copytree(tiny_folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="pickled weights are not read"):
        locate(str(pickled))
    unknown = shutil.copytree(tiny_folder, tmp_path / "unknown")
    config = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(json.dumps({**config, "model_type": "bloom"}))
    with pytest.raises(BackboneError, match="family 'bloom', unknown and built like none of the known ones"):
        outline(str(unknown))
    wordless = shutil.copytree(tiny_folder, tmp_path / "wordless")
    for name in ("tokenizer.json", "vocab.txt"):
        (wordless / name).unlink(missing_ok=True)
    with pytest.raises(BackboneError, match="has no tokenizer"):
        locate(str(wordless))


@pytest.mark.parametrize("sizes", [{"hidden_size": "x"}, {"hidden_size": 30}], ids=str)
def test_sizes_that_make_no_model_are_refused(
    sizes: dict[str, object], tiny_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "sizes")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **sizes}))
    with pytest.raises(BackboneError, match="has a config.json that"):
        outline(str(folder))


def test_weights_that_are_cut_short_or_belong_to_another_model_are_refused(
    tiny_folder: Path, tmp_path: Path
) -> None:
    cut = shutil.copytree(tiny_folder, tmp_path / "cut")
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(BackboneError, match="weights that cannot be loaded"):
        load(str(cut))
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    save_file({f"tower.{name}": tensor for name, tensor in tensors.items()}, other / "model.safetensors")
    with pytest.raises(BackboneError, match=r"lacks \d+ of its weights, such as embeddings"):
        load(str(other))


def test_the_outline_of_a_backbone_knows_its_sites_without_weights(any_backbone: Backbone) -> None:
    sketch = outline(str(any_backbone.folder))
    assert sketch.sites == any_backbone.sites
    assert sketch.hidden_size == any_backbone.hidden_size


def test_the_same_weights_have_the_same_hash_in_bf16(backbone: Backbone) -> None:
    assert load(str(backbone.folder), dtype="bf16").weight_hash == backbone.weight_hash
    assert replace(backbone).in_fp32.weight_hash == backbone.weight_hash
