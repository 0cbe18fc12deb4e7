"""report.html: an evaluation on one page, with everything in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from seismollm_jax import atomic_files
from seismollm_jax.evaluation import (
    pictures,
    predictions,
    report_curves,
    report_pictures,
    wording,
)
from seismollm_jax.evaluation.evaluate import Evaluation
from seismollm_jax.evaluation.exposure import EXPOSURES
from seismollm_jax.evaluation.report_cases import EACH, Case
from seismollm_jax.evaluation.report_pictures import Found, Picture
from seismollm_jax.html_page import Card, Image, Section, Table, page
from seismollm_jax.tasks import thresholds

NAME = "report.html"

ABOUT_CASES = {
    "best": "The smallest errors.",
    "median": "The middle of all errors: as good as half of the records.",
    "worst": "The largest errors, the worst first.",
}


def write(
    outcome: Evaluation,
    found: Found,
    catalogue: pd.DataFrame,
    cases: Sequence[Case],
    examples: pictures.Examples,
    output: Path,
) -> Path:
    """Writes the page, and its pictures below `pictures/`.

    Args:
        outcome: at the thresholds to judge, with the outputs of the cases.
        found: the content of metrics.json.
        catalogue: the table of the dataset.
        cases: records to be shown.
        examples: their waveforms, in the same order.
        output: folder of the evaluation.
    """
    folder = output / "pictures"
    folder.mkdir(parents=True, exist_ok=True)

    def drawn(shown: Iterator[Picture] | Sequence[Picture]) -> list[Image]:
        return [_image(picture, folder) for picture in shown]

    of_cases = drawn(report_pictures.of_cases(outcome, cases, examples))
    task, kinds = outcome.experiment.task, set(map(type, outcome.metrics.values()))
    sections = [
        Section("Truth and prediction", [], drawn(report_pictures.of_answers(outcome))),
        Section("Scores", [_about_scores(found)], _score_tables(outcome, found)),
        Section("Curves", [], drawn(report_curves.of_curves(outcome, found))),
        Section(
            "Breakdown",
            ["Parts with few records have wide intervals, and none with a single event."],
            [*drawn(report_pictures.of_parts(outcome, found)), *_part_tables(outcome, found)],
        ),
        Section(
            "Waveforms",
            [_about_errors(kinds)],
            list(_case_content(outcome, catalogue, cases, of_cases)),
        ),
        Section("Records", [], _count_tables(outcome, found)),
        Section("Provenance", [], [_provenance(found)]),
    ]
    exposure = EXPOSURES[found["training_traces"]]
    text = page(
        f"{task.title[0].upper()}{task.title[1:]}: {_part(found)} of {_short_path(found['data'])}",
        [
            f"{found['records']:,} records of {found['bootstrap']['events']:,} events, "
            f"checkpoint at step {found['step']:,}, {found['provenance']['created'][:10]}.",
            *([f"{_capital(thresholds.line(found['thresholds']))}."] if _uses(found) else []),
        ],
        [_capital(exposure) + "."] if exposure else [],
        list(_cards(outcome, found)),
        sections,
        "Written by seismollm_jax, eval.py --report.",
    )
    atomic_files.write(output / NAME, text.encode())
    return output / NAME


def _image(picture: Picture, folder: Path) -> Image:
    path = folder / f"{picture.name}.png"
    picture.draw(path)
    return Image(path.read_bytes(), picture.title, picture.caption, picture.alt)


def _cards(outcome: Evaluation, found: Found) -> Iterator[Card]:
    for name, metric in outcome.metrics.items():
        kind = wording.kind(metric)
        for score in kind.first:
            key, word = f"{name}/{score}", kind.words[score]
            if found["scores"].get(key) is None:
                continue
            unit = wording.unit(word, outcome.experiment.task.units[name])
            yield Card(
                f"{wording.title(name, metric)}: {word.label}",
                _with_unit(_number(found["scores"][key]), unit),
                _interval(found["intervals"].get(key), "95 %: "),
            )


def _score_tables(outcome: Evaluation, found: Found) -> list[Table]:
    columns = ["score", "number:value", "number:95 % interval", "unit", "word:meaning"]
    tables = []
    for name, metric in outcome.metrics.items():
        kind, unit = wording.kind(metric), outcome.experiment.task.units[name]
        known = [score for score in kind.words if f"{name}/{score}" in found["scores"]]
        mine = [key.partition("/")[2] for key in found["scores"] if key.startswith(f"{name}/")]
        rows = []
        for score in [*known, *[score for score in mine if score not in known]]:
            key = f"{name}/{score}"
            word = kind.words.get(score, wording.Word(score, "", ""))
            rows.append(
                [
                    word.label,
                    _number(found["scores"][key], whole=word.unit == "count"),
                    _interval(found["intervals"].get(key)),
                    wording.unit(word, unit),
                    wording.meaning(word, metric),
                ]
            )
        tables.append(Table(wording.title(name, metric), columns, rows))
    loss, interval = found["scores"]["loss"], _interval(found["intervals"].get("loss"))
    row = [wording.LOSS.label, _number(loss), interval, wording.LOSS.unit, wording.LOSS.meaning]
    return [*tables, Table("All answers", columns, [row])]


def _part_tables(outcome: Evaluation, found: Found) -> Iterator[Table]:
    """The numbers behind the pictures of parts, and those of the members of a mixture."""
    columns = {
        f"{name}/{score}": _column(outcome, name, score)
        for name, metric in outcome.metrics.items()
        for score in metric.headline
    }
    heads = ["number:records", "number:events", *[f"number:{text}" for text in columns.values()]]
    for by, entries in found["breakdown"].items():
        quantity, unit = wording.PARTS[by]
        rows = [
            [
                wording.bin_label(entry),
                f"{entry['records']:,}",
                f"{entry['events']:,}",
                *[
                    f"{_number(entry['scores'].get(key))} "
                    f"{_interval(entry['intervals'].get(key), '(', ')')}".strip()
                    for key in columns
                ],
            ]
            for entry in entries
        ]
        heading = wording.axis(quantity, unit)
        yield Table(f"Numbers by {quantity}", [heading, *heads], rows, folded=True)
    if sources := found.get("sources"):
        rows = [
            [name, *[_number(scores.get(key)) for key in columns]]
            for name, scores in sources.items()
        ]
        yield Table("Numbers by source of the mixture", ["source", *heads[2:]], rows)


def _column(outcome: Evaluation, name: str, score: str) -> str:
    metric = outcome.metrics[name]
    word = wording.kind(metric).words[score]
    unit = wording.unit(word, outcome.experiment.task.units[name])
    return wording.axis(
        f"{wording.title(name, metric)}: {word.label}".replace(" arrivals:", ""), unit
    )


def _case_content(
    outcome: Evaluation, catalogue: pd.DataFrame, cases: Sequence[Case], images: Sequence[Image]
) -> Iterator[Table | Image | str]:
    kinds = list(dict.fromkeys(case.kind for case in cases))
    for kind in kinds:
        yield f"{_capital(kind)}. {ABOUT_CASES[kind]}"
        yield from (image for case, image in zip(cases, images, strict=True) if case.kind == kind)
    if not cases:
        return
    rows = outcome.rows
    stations, events = predictions.stations(catalogue), predictions.events(catalogue)
    ratios = catalogue[["snr_z_db", "snr_n_db", "snr_e_db"]].mean(axis=1).to_numpy()
    table = []
    for case in cases:
        row = int(rows[case.place])
        table.append(
            [
                case.kind,
                str(catalogue["trace_name"].iloc[row]),
                str(events[row] or ""),
                str(stations[row] or ""),
                _tenth(ratios[row]),
                _tenth(catalogue["distance_km"].iloc[row]),
                _tenth(catalogue["magnitude"].iloc[row]),
                "; ".join(case.words),
                _number(outcome.losses[case.place]),
            ]
        )
    heads = ["", "name:trace", "event", "station", "number:SNR (dB)", "number:distance (km)",
             "number:magnitude", "word:truth and prediction", "number:loss"]  # fmt: skip
    yield Table("These records in numbers", heads, table)


def _count_tables(outcome: Evaluation, found: Found) -> list[Table]:
    rows = [
        ["records that count", f"{found['records']:,}"],
        ["events behind them", f"{found['bootstrap']['events']:,}"],
        ["could not be read", f"{len(found['unreadable']):,}"],
    ]
    rows += [[f"left out of all parts: with {why}", f"{count:,}"]
             for why, count in found["left_out"].items()]  # fmt: skip
    for name, metric in outcome.metrics.items():
        words = wording.kind(metric).words
        for score in ("n", "n_missing", "n_invalid"):
            value = found["scores"].get(f"{name}/{score}")
            if value is not None and score in words:
                label = f"{wording.title(name, metric)}: {words[score].meaning}"
                rows.append([label, f"{value:,.0f}"])
    noise = [c["false_picks"] for c in found["curves"].values() if "false_picks" in c]
    if noise:
        label = f"of these noise, {noise[0]['hours']:.3g} hours"
        rows.insert(1, [label, f"{noise[0]['windows']:,}"])
    tables = [Table("Counts", ["word:what", "number:number"], rows)]
    if found["unreadable"]:
        bad = [[name, why] for name, why in found["unreadable"].items()]
        tables.append(Table("Traces that could not be read", ["code:trace", "word:why"], bad))
    return tables


def _provenance(found: Found) -> Table:
    origin = found["provenance"]
    rows = [
        ["checkpoint", _short_path(found["checkpoint"])],
        ["step", f"{found['step']:,}"],
        ["network, SHA-256", found["network_sha256"]],
        ["dataset", _short_path(found["data"])],
        ["part", found["split"]],
        ["split", _settings(found["split_by"])],
        ["split, fingerprint", found["split_hash"]],
        ["traces of the training among these", found["training_traces"]],
        ["thresholds", thresholds.line(found.get("thresholds", {})).partition(": ")[2]],
        ["bootstrap", _settings(found["bootstrap"])],
        ["command", origin["command"]],
        ["written", origin["created"]],
        ["commit", origin["commit"]],
        ["devices", origin["devices"]],
        ["versions", _settings(origin["versions"])],
    ]
    return Table("Where this is from", ["", "code:"], [row for row in rows if row[1]])


def _about_scores(found: Found) -> str:
    bootstrap = found["bootstrap"]
    return (
        f"Intervals hold {100 * bootstrap['level']:g} % of {bootstrap['resamples']:,} bootstrap "
        f"resamples of the {bootstrap['events']:,} events, so that records of one event stay "
        "together. Mean errors are true minus predicted here and in the breakdown, as in the "
        "PyTorch original; residuals in pictures are predicted minus true."
    )


def _about_errors(kinds: set[type]) -> str:
    how = " ".join(filter(None, (wording.KINDS[kind].errors for kind in kinds)))
    return f"At most {EACH} of each kind, out of all records with something to judge. {how}"


def _part(found: Found) -> str:
    names = {"val": "validation part", "all": "all records"}
    return names.get(found["split"], f"{found['split']} part")


def _uses(found: Found) -> bool:
    return bool(found.get("thresholds"))


def _settings(settings: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (settings or {}).items())


def _short_path(path: str) -> str:
    """Relative to where the command was given, if it is below that."""
    near = os.path.relpath(path)
    return path if near.startswith("..") else near


def _number(value: float | None, *, whole: bool = False) -> str:
    if value is None or value != value:
        return "-"
    if whole:
        return f"{value:,.0f}"
    size = abs(value)
    if size < 1:
        return f"{value:.3f}" if size >= 0.001 else f"{value:.2g}"
    return f"{value:.3g}" if size < 100 else f"{value:,.0f}"


def _tenth(value: float) -> str:
    return "" if value != value else f"{value:,.1f}"


def _interval(bounds: Sequence[float | None] | None, before: str = "", after: str = "") -> str:
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return ""
    return f"{before}{_number(bounds[0])} to {_number(bounds[1])}{after}"


def _with_unit(number: str, unit: str) -> str:
    if unit == "°":
        return f"{number}°"
    return number if unit in ("share", "pure number", "magnitude units") else f"{number} {unit}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
