"""Code that loads an export, format by format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainers.kinds import single

LIBRARIES = {"merged": "transformers", "peft": "peft", "onnx": "onnx", "adapterhub": "adapter-transformers"}


def library(format: str) -> str:
    """The hub's `library_name`: what loads the format."""
    return LIBRARIES.get(format, "peltier")


def usage(format: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is needed, and the code; FOLDER is where the files of the export lie."""
    task = manifest["task"]
    rows, heads = _rows(task), _heads(task["kind"])
    if format == "native":
        yield "With `pip install peltier`, and the backbone above (other weights are refused):"
        yield _python(
            "from pathlib import Path\n"
            "from trainers.export import load_export\n\n"
            f'module = load_export(Path("FOLDER"))\nfor row in module.predict({rows}):\n    print(row)'
        )
        yield "Or on a command line: `peltier predict FOLDER INPUT.csv`."
    elif format == "merged":
        yield "With `pip install transformers torch`:"
        yield _python(
            f"from transformers import AutoTokenizer, AutoModelFor{heads}\n\n"
            f'model = AutoModelFor{heads}.from_pretrained("FOLDER")\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
        )
    elif format == "peft":
        yield "With `pip install peft transformers torch`, and the backbone above:"
        yield _python(
            f"import json\n\nfrom peft import AutoPeftModelFor{heads}\n"
            "from transformers import AutoTokenizer\n\n"
            'facts = json.load(open("FOLDER/labels.json", encoding="utf-8"))\n'
            f'model = AutoPeftModelFor{heads}.from_pretrained("FOLDER", **facts)\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
        )
    elif format == "adapterhub":
        yield "With `pip install adapters torch`, and the backbone above:"
        yield _python(
            "import json\n\nfrom adapters import AutoAdapterModel\nfrom transformers import AutoTokenizer\n\n"
            'facts = json.load(open("FOLDER/adapter_config.json", encoding="utf-8"))\n'
            'model = AutoAdapterModel.from_pretrained(facts["model_name"])\n'
            'model.load_adapter("FOLDER", set_active=True, use_safetensors=True)\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
        )
        if set(manifest["config"].get("gates", "")) & set(manifest["config"].get("modules", "")):
            yield "Ask it one text at a time: the library's gates are means over the padding of a batch, too."
    elif format == "standalone":
        yield "With `pip install torch transformers safetensors`, inside the folder:"
        yield _python(f"from predict import load\n\nprint(load().predict({rows}))")
    elif format == "onnx":
        yield "With `pip install onnxruntime torch transformers`, inside the folder:"
        yield _python(f"from predict import load\n\nprint(load().predict({rows}))")


def _rows(task: Mapping[str, Any]) -> str:
    if single(task["kind"]) == "token-classification":
        return '[["some", "words"]]'
    return '["a text"], ["its second text"]' if task["columns"]["text_pair"] else '["a text"]'


def _heads(kind: str) -> str:
    tagged = single(kind) == "token-classification"
    return "TokenClassification" if tagged else "SequenceClassification"


def _python(code: str) -> str:
    return f"```python\n{code}\n```"
