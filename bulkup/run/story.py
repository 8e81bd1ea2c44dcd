"""What happens in a run, from its beginning to its receipt. Begin reading here.

    open ─▶ scan ─▶ look ─▶ send ⇄ settle ─▶ audit ─▶ receipt

A run is opened: tokens, locks, journal, source, and a lane for each destination. The source is read once, so that what is planned
fits all of its rows; where that takes long, the destinations are looked at before. Every lane decides its plan and looks at its
destination before any of them sends. Then each lane sends round by round what is planned, settles its doubts in between, and looks
a last time at what it has sent twice. What all of that came to is read from the journal: that is the receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from bulkup.account.finished import Event, Finished
from bulkup.account.receipt import Receipt
from bulkup.errors import BulkupError, as_one_error, worst
from bulkup.flow.lane import Lane
from bulkup.run.interrupt import Interrupt
from bulkup.run.kept_scans import KeptScans
from bulkup.run.lifetime import begin, conclude
from bulkup.run.open_lane import service_at
from bulkup.run.open_run import open_run
from bulkup.run.opened import OpenRun, Purpose, Wish
from bulkup.run.scanning import check_rejects, look_at_all, look_early
from bulkup.run.scanning_added import look_at_added
from bulkup.run.snapshots import Snapshots, stages_shown
from bulkup.run.stopping import see_through
from bulkup.run.wish import Upload

if TYPE_CHECKING:
    from bulkup.doubt.verification import LaneVerification, Sample, Verification

__all__ = ["execute", "settle", "verify"]


async def execute(
    upload: Upload, *, tell: Callable[[Event], None], interrupt: Interrupt | None = None, resume: str | None = None
) -> Receipt:
    """Carry *upload* out and return its receipt, which also stands in the run's folder.

    *resume* names the run to go on with, where it is not the one that *upload* makes. Raises `BulkupError` where nothing can
    be sent at all: bad options, a destination that is not empty, too many rows that would be rejected, a changed source, an
    unusable journal, a lock, no token.
    """
    wish = Wish(upload, Purpose.SEND, resume, tell, interrupt or Interrupt())
    not_begun: OpenRun | None = None
    try:
        async with open_run(wish) as run:
            not_begun = run
            with as_one_error():
                await wish.interrupt.unless_requested(partial(look_early, run))
                await wish.interrupt.unless_requested(partial(look_at_all, run, KeptScans(run.state.path)))
                await check_rejects(run)
                await wish.interrupt.unless_requested(partial(look_at_added, run))
                await wish.interrupt.unless_requested(partial(_look_everywhere, run))
            not_begun = None
            await run.keep()
            return await _carry_out(run, send_lane)
    finally:
        if not_begun is not None and not_begun.is_new and not_begun.discard():
            not_begun.say(f"nothing was sent, and nothing is kept of run {not_begun.folder.run_id}")


async def settle(
    upload: Upload, *, tell: Callable[[Event], None], interrupt: Interrupt | None = None, resume: str
) -> Receipt:
    """Settle what is in doubt in the run named *resume*, sending nothing; its receipt. Raises `BulkupError` as `execute` does."""
    async with open_run(Wish(upload, Purpose.SETTLE, resume, tell, interrupt or Interrupt())) as run:
        return await _carry_out(run, settle_lane)


async def verify(
    upload: Upload,
    *,
    tell: Callable[[Event], None],
    interrupt: Interrupt | None = None,
    resume: str,
    sample: float,
    seed: int,
) -> Verification:
    """Compare what the destinations hold with what the run named *resume* has sent. Raises `BulkupError` as `execute` does, and
    `SourceChanged` where the source is not what was sent."""
    from bulkup.doubt.verification import LaneVerification, Sample, Verification  # an upload needs nothing of it

    wish = Wish(upload, Purpose.VERIFY, resume, tell, interrupt or Interrupt())
    async with open_run(wish) as run:
        found = {lane.name: LaneVerification(read_whole=False) for lane in run.lanes}
        with as_one_error():
            async with stages_shown(run):
                await see_through(
                    run, lambda lane: compare_lane(lane, Sample(sample, seed), run.folder.path, found.__setitem__)
                )
        if wish.interrupt.code is not None:
            for one in found.values():
                one.stopped = one.stopped or ("interrupted", wish.interrupt.code)
        return Verification(run.folder.run_id, sample, seed, found)


# --- a lane, stage by stage ---------------------------------------------------------------------------------------------------


async def look_at(lane: Lane) -> None:
    """Take up what an earlier process left, decide how rows are made, and look whether the destination is free.

    Nothing is sent. Raises `UsageProblem`, `DestinationNotEmpty`, `TokenRefused`, `SourceUnreadable`. A destination that cannot be
    asked just now is asked again by `send_lane`.
    """
    await lane.take_up()
    if not await lane.see_whether_done():
        await lane.plan()
        await lane.first_look.once()


async def send_lane(lane: Lane) -> None:
    """Send until the source ends or the lane stops. What happened stands in the journal."""
    async with lane.ending():
        if lane.is_done:
            lane.check_rejects()
            return
        await lane.first_look.insist()
        async with lane.sending() as sending:
            await sending.settle_at_start()
            while True:
                await sending.send_round(lane.cursor)
                lane.context.halt.check()
                await sending.settle()
                if not await lane.begin_anew():
                    break
            await lane.audit(sending)


async def settle_lane(lane: Lane) -> None:
    """Settle what is in doubt, and nothing else: what is not stored is planned again."""
    async with lane.ending():
        await lane.take_up()
        settler = await lane.settler()
        if settler is not None:
            await settler.settle()


async def compare_lane(
    lane: Lane, sample: Sample, scratch: Path, begun: Callable[[str, LaneVerification], None]
) -> None:
    """Compare what the destination holds with the source. *begun* gets the lane's name, and what is going to be found."""
    await lane.cursor.aclose()
    await lane.take_up()
    verifier = await lane.verifier(sample, scratch)
    if verifier is not None:
        begun(lane.name, verifier.found)
        await verifier.verify()


# --- all lanes ----------------------------------------------------------------------------------------------------------------


async def _look_everywhere(run: OpenRun) -> None:
    """Every lane's look before anything is sent anywhere. Raises the gravest of what they find."""
    run.say(f"run {run.folder.run_id}, kept in {run.folder.path}")
    if not run.wish.upload.is_resumable:
        run.say("standard input cannot be read again: this run cannot be resumed")
    found: list[BulkupError] = []

    async def look(lane: Lane) -> None:
        try:
            await look_at(lane)
        except BulkupError as error:
            found.append(error)

    async with anyio.create_task_group() as tasks:
        for lane in run.lanes:
            tasks.start_soon(look, lane)
    if found:
        gravest = worst([error.exit_code for error in found])
        first = next(error for error in found if error.exit_code == gravest)
        for error in found:
            if error is not first:
                run.say(str(error))
        raise first


async def _carry_out(run: OpenRun, work: Callable[[Lane], Coroutine[Any, Any, None]]) -> Receipt:
    """*work* on every lane, shown meanwhile, and the receipt."""
    await begin(run.journal, [lane.name for lane in run.lanes])
    if all(lane.is_done for lane in run.lanes):
        run.say("this run is done: nothing is left to send")
    snapshots = Snapshots(run)
    async with snapshots.shown():
        await see_through(run, work)
    receipt = await conclude(
        run.folder, run.journal, interrupted=run.wish.interrupt.code, this_invocation=snapshots.invocations()
    )
    _learn_limits(run)
    snapshots.show()
    run.wish.tell(Finished(receipt))
    return receipt


def _learn_limits(run: OpenRun) -> None:
    """What a 413 has taught is for later runs too."""
    for lane in run.lanes:
        if lane.context.limit.learned is not None:
            run.state.learn_limit(service_at(lane.context.chosen.destination), lane.context.limit.learned)
