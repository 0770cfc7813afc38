"""CORE one text at a time, in plain loops, written from nanochat's rules and not from our code: what evals/core.py is
compared with, in its tests and in benchmarks/core.py. Nothing here is fast.

T tokens   V vocabulary
"""

import csv
import json
import random

import torch
import yaml


def read(folder):
    """Of each task: label, section, chance and its items, shuffled."""
    chances = {}
    with (folder / "eval_meta_data.csv").open(newline="") as opened:
        for row in csv.DictReader(opened):
            chances[row["Eval Task"]] = 0.01 * float(row["Random baseline"])
    for section in yaml.safe_load((folder / "core.yaml").read_text())["icl_tasks"]:
        lines = (folder / "eval_data" / section["dataset_uri"]).read_text().splitlines()
        data = [json.loads(line) for line in lines]
        random.Random(1337).shuffle(data)
        yield section["label"], section, chances[section["label"]], data


def prompts(section, data, index, pool):
    """The texts of item `index` of `data`; of language modeling first the one without its continuation."""
    kind, delimiter, item = section["icl_task_type"], section.get("continuation_delimiter", " "), data[index]
    n_shots = section["num_fewshot"][0]
    shots = []
    if n_shots > 0:
        others = [i for i in range(len(pool)) if i != index]
        shots = [pool[i] for i in random.Random(1234 + index).sample(others, n_shots)]
    text = ""
    for shot in shots:
        if kind == "multiple_choice":
            text += shot["query"] + delimiter + shot["choices"][shot["gold"]]
        elif kind == "schema":
            text += shot["context_options"][shot["gold"]] + delimiter + shot["continuation"]
        else:
            text += shot["context"].strip() + delimiter + shot["continuation"]
        text += "\n\n"
    if kind == "multiple_choice":
        return [text + item["query"] + delimiter + choice for choice in item["choices"]]
    if kind == "schema":
        return [text + context + delimiter + item["continuation"] for context in item["context_options"]]
    without = text + item["context"].strip() + delimiter
    return [without.strip(), without + item["continuation"]]


def equal_at(rows, places):
    """At how many of the places, from the first on, do all rows hold the same?"""
    n = 0
    for place in places:
        if any(row[place] != rows[0][place] for row in rows):
            break
        n += 1
    return n


@torch.no_grad()
def losses_and_hits(network, ids, start):
    """Of each token from `start` on."""
    logits = network(torch.tensor([ids]))[0]  # (T, V)
    losses, hits = [], []
    for place in range(start, len(ids)):
        before = logits[place - 1]
        losses.append(-before.double().log_softmax(dim=-1)[ids[place]].item())
        hits.append(before.argmax().item() == ids[place])
    return losses, hits


def judge(network, encode, begin, texts, kind, gold):
    """(is right, mean loss of each candidate)"""
    rows = [([] if begin is None else [begin]) + list(encode(text)) for text in texts]
    shortest = min(len(row) for row in rows)
    if kind == "multiple_choice":
        starts = [min(equal_at(rows, range(shortest)), shortest - 1)] * len(rows)
    elif kind == "schema":
        n_last = equal_at(rows, range(-1, -shortest - 1, -1))
        starts = [len(row) - n_last for row in rows]
    else:
        starts = [equal_at(rows, range(shortest))]
        rows = rows[1:]
    means, all_hit = [], []
    for row, start in zip(rows, starts, strict=True):
        n_lost = max(0, len(row) - network.config.block_size)
        losses, hits = losses_and_hits(network, row[n_lost:], max(1, start - n_lost))
        means.append(sum(losses) / len(losses))
        all_hit.append(all(hits))
    if kind == "language_modeling":
        return all_hit[0], means
    return means.index(min(means)) == gold, means


def evaluate(network, encode, begin, folder, max_per_task=None):
    """By label: (chance, [(is right, losses) of each item])."""
    found = {}
    for label, section, chance, data in read(folder):
        items = []
        asked = data[:max_per_task]
        n_shots = section["num_fewshot"][0]
        pool = asked if len(asked) > n_shots else data[: n_shots + 1]
        for index in range(len(asked)):
            texts = prompts(section, asked, index, pool)
            kind, gold = section["icl_task_type"], asked[index].get("gold")
            items.append(judge(network, encode, begin, texts, kind, gold))
        found[label] = chance, items
    return found
