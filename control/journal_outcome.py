"""What a run has come to, as its journal holds it."""

from __future__ import annotations

from control.journal import Journal, LayerPhase
from control.outcome import Declared, LayerOutcome, Outcome, Status, Totals


def outcome_of_journal(
    journal: Journal,
    status: Status,
    reason: str,
    exit_code: int,
    dry_run: bool,
    *,
    lines_sent: int = 0,
    polls: int = 0,
    duration_s: float = 0.0,
    position_mm: tuple[float, float, float] | None = None,
) -> Outcome:
    """A run's outcome: what the journal holds of layers and declarations, and how this session ended."""
    layers = []
    for record in journal.layers():
        committed = record.phase is LayerPhase.COMMITTED and record.doubt_from is None
        layers.append(LayerOutcome(record.layer, committed, record.blocks if committed else 0, record.energy_j))
    return Outcome(
        status=status,
        reason=reason,
        exit_code=exit_code,
        declared=[Declared(d.kind, d.layer, d.first_block, d.last_block) for d in journal.declarations()],  # type: ignore[arg-type]
        layers=layers,
        totals=Totals(
            layers=sum(layer.committed for layer in layers),
            blocks_claimed=sum(layer.blocks_claimed for layer in layers),
            energy_j=sum(layer.energy_j for layer in layers),
            lines_sent=lines_sent,
            polls=polls,
            duration_s=duration_s,
            sessions=int(journal.fact("sessions")),
        ),
        position_mm=position_mm,
        dry_run=dry_run,
    )


def outcome_of_nothing(reason: str, exit_code: int, dry_run: bool) -> Outcome:
    """The outcome of a run that failed and whose journal cannot be read: no layer is claimed, and none is declared."""
    return Outcome(
        status=Status.FAILED,
        reason=reason,
        exit_code=exit_code,
        declared=[],
        layers=[],
        totals=Totals(0, 0, 0.0, 0, 0, 0.0, 0),
        position_mm=None,
        dry_run=dry_run,
    )
