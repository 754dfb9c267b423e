"""How ``langpose registry`` shows what it found to a person.

Others wrote what a registry holds, so every line passes through ``printable``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langpose_dist.host.redaction import printable

if TYPE_CHECKING:
    from langpose_dist.tracking.registry.versions import RegisteredName, RegisteredVersion


def name_table(models: "Sequence[RegisteredName]") -> str:
    """Every model with its versions and aliases."""
    if not models:
        return "no models are registered"
    rows = [("name", "versions", "aliases")]
    for model in models:
        aliases = ", ".join(f"{alias}={version}" for alias, version in model.aliases.items())
        rows.append((model.name, ", ".join(map(str, model.versions)), aliases))
    return _table(rows)


def describe_version(version: "RegisteredVersion", *, with_hashes: bool) -> str:
    """One version: what it is, what it was made from, its numbers and its promotions."""
    lines = [
        version.label,
        f"  aliases: {', '.join(version.aliases) or 'none'}",
        f"  created: {version.created}",
        f"  run: {version.run_id or 'none'}",
        f"  status: {version.status}",
        *(f"  {key}: {value}" for key, value in sorted(version.tags.items())),
        f"  licence of the training data: {version.licence}",
        f"  weights started from: {', '.join(version.parents) or 'scratch, or not recorded'}",
    ]
    if version.metrics:
        lines += ["  evaluation:", *_describe_evaluation(version)]
    else:
        lines.append("  evaluation: none")
    if version.promotions:
        lines.append("  promotions:")
        lines += [f"    {describe_promotion(record)}" for record in version.promotions]
    if with_hashes:
        lines.append(f"  files, SHA-256:{'' if version.files else ' none recorded'}")
        lines += [f"    {digest}  {name}" for name, digest in version.files.items()]
    return _join(lines)


def describe_promotion(record: Mapping[str, Any]) -> str:
    """One line of the history of an alias."""
    before = record.get("from_version")
    states = {"done": "", "pending": ": begun and not finished", "overtaken": ": another came in between"}
    state = str(record.get("state"))
    text = (
        f"{str(record.get('time'))[:19]}Z  {record.get('alias')}: version {before or 'none'} -> "
        f"{record.get('to_version')}, by {record.get('user')}{states.get(state, f': {state}')}"
    )
    if record.get("reason"):
        objections = record.get("objections")
        objections = "; ".join(map(str, objections if isinstance(objections, list) else ()))
        text += f"; forced: {record['reason']} (against: {objections})"
    return printable(text)


def _describe_evaluation(version: "RegisteredVersion") -> list[str]:
    evaluation, metrics = version.evaluation, version.metrics
    width = max(map(len, metrics))
    protocol = evaluation.get("protocol")
    protocol = protocol if isinstance(protocol, dict) else {}
    return [
        f"    data: {evaluation.get('dataset', 'unknown')}, split {evaluation.get('split', 'unknown')}, "
        f"fingerprint {evaluation.get('data_fingerprint', 'unknown')}",
        f"    2D source: {evaluation.get('source_2d', 'unknown')}",
        f"    {evaluation.get('num_windows', 'unknown')} windows, "
        f"{evaluation.get('num_frames', 'unknown')} frames, at step {evaluation.get('step', 'unknown')}",
        *(f"    {name.ljust(width)}  {value:.6g}" for name, value in sorted(metrics.items())),
        *(f"    protocol of {name}: {meaning}" for name, meaning in protocol.items()),
    ]


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return _join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _join(lines: Iterable[str]) -> str:
    return "\n".join(map(printable, lines))
