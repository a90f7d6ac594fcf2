"""Programs that load an export as its user would, in a process that need not have Peltier."""

from __future__ import annotations

_FIRST = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from transformers import AutoTokenizer
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
folder = Path(sys.argv[1])
rows = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
tokenizer = AutoTokenizer.from_pretrained(folder)
at_once = 32
words = bool(rows["texts"]) and isinstance(rows["texts"][0], list)
"""
_LAST = """
model = load(AutoModelForTokenClassification if words else AutoModelForSequenceClassification)
model = model.to(device).eval()

def logits(texts, pairs):
    read = of_words if words else of_texts
    parts = [slice(start, start + at_once) for start in range(0, len(texts), at_once)]
    with torch.no_grad():
        return np.concatenate([read(texts[p], pairs and pairs[p]) for p in parts])

def run(inputs):
    return model(**inputs.to(device)).logits.float().cpu().numpy()

def of_texts(texts, pairs):
    if pairs and not tokenizer.num_special_tokens_to_add(pair=True):
        pairs = ["\\n" + text for text in pairs]  # nothing else stands between the two texts
    return run(tokenizer(texts, pairs, truncation=True, padding=True, return_tensors="pt"))

def of_words(texts, pairs):
    found = []
    for text in texts:
        # A word is its first token; a text that is too long is read in parts.
        parts = tokenizer(" ".join(text), truncation=True, return_overflowing_tokens=True,
                          return_offsets_mapping=True)
        ends, values = [], []
        for i in range(len(parts["input_ids"])):
            inputs = {n: parts[n][i] for n in tokenizer.model_input_names if n in parts}
            values.append(run(tokenizer.pad([inputs], return_tensors="pt"))[0])
            ends += [end for _, end in parts["offset_mapping"][i]]
        begins = np.cumsum([0, *(len(word) + 1 for word in text)])[:-1]
        places = np.searchsorted(np.maximum.accumulate(ends), begins, side="right")
        found.append(np.concatenate(values)[np.minimum(places, len(ends) - 1)])
    return np.concatenate(found)

np.save(sys.argv[3], logits(rows["texts"], rows["pairs"]))
"""


def program(load: str) -> str:
    """A program with `load(kind)`, which gives the model as a class of transformers' classifiers.

    It may set `at_once`, the texts of a batch.
    """
    return _FIRST + load + _LAST
