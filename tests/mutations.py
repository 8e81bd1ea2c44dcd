"""`python -m tests.mutations`: each rule about doubt is taken away in turn, and a test must fail.

A mutation is one exact replacement in a copy of the tree. First the named tests run on the copy as it is, and must pass: else a
failure would prove nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "main"]

ROOT = Path(__file__).parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "results", "build", "dist", "node_modules")
LONGEST_S = 240

JUDGING = "tests/settlement/test_judging.py"
STANDING_STILL = "tests/settlement/test_standing_still.py"
DOUBT = "tests/e2e/test_doubt.py"
SETTLE = "tests/cli/test_settle.py"
POLICIES = "tests/settlement/test_policies.py"
RESETS = "tests/test_resets.py"
LISTS = "tests/destinations/test_lists.py"
LOOKING = "tests/flow/test_looking.py"
FORMATS = "tests/sources/test_formats.py"
REACTION = "tests/flow/test_reaction.py"
REQUESTS = "tests/flow/test_requests.py"
VERDICT = "tests/test_verdict.py"
STATUS = "tests/cli/test_looking.py"
PRESETS = "tests/encoding/test_presets.py"
DOUBLED = "tests/encoding/test_doubled_keys.py"
FAR = "tests/workers/test_far.py"
DOOR = "tests/workers/test_door.py"
TAKEOVER = "tests/journal/test_takeover.py"
POSTGRES = "tests/journal/test_postgres.py"
CONTRACT = "tests/journal/test_contract.py"
KEPT = ("tests/sources/test_kept.py", "tests/scan/test_kept.py")
OPTIONS = "tests/cli/test_options.py::test_one_entry_is_enough"


@dataclass(frozen=True, slots=True)
class Mutation:
    """*old*, which stands once in *file*, becomes *new*; one of *tests* (pytest's node ids) must fail then."""

    rule: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        rule="kept rows",
        what="a block of kept rows is handed out whole, however the range ends",
        file="bulkup/sources/kept_rows.py",
        old="wanted, _ = cut_at(item, base + stop) if item is not None else (None, None)",
        new="wanted = item",
        tests=KEPT,
    ),
    Mutation(
        rule="kept rows",
        what="what could not be kept counts as kept",
        file="bulkup/sources/kept_rows.py",
        old="stop, is_end = (stop, is_end) if file.lost == inf else (min(stop, int(file.lost)), False)",
        new="pass",
        tests=KEPT,
    ),
    Mutation(
        rule="kept rows",
        what="a file that is gone is not noticed where its rows are kept",
        file="bulkup/sources/kept_source.py",
        old="            os.close(open_file(file))",
        new="            pass",
        tests=KEPT,
    ),
    Mutation(
        "far workers",
        "a lost worker's requests are in doubt before its lease is over",
        "bulkup/workers/far.py",
        "        if not self.said_bye:\n",
        "        if False:\n",
        (FAR,),
    ),
    Mutation(
        "far workers",
        "a worker's lease is renewed though the run may not send",
        "bulkup/workers/far.py",
        "if (left_s := self._authority.left_s) > 0:",
        "if (left_s := self._lease_s) > 0:",
        (FAR,),
    ),
    Mutation(
        "far workers",
        "a lease runs from the answer",
        "bulkup/workers/lease.py",
        "min(asked_at, self._clock()) + for_s",
        "self._clock() + for_s",
        (FAR,),
    ),
    Mutation(
        "far workers",
        "a lease that has run out comes back",
        "bulkup/workers/lease.py",
        "        if self.holds():\n            self._until",
        "        if True:\n            self._until",
        (FAR,),
    ),
    Mutation(
        "far workers",
        "an answer of another epoch counts",
        "bulkup/workers/far.py",
        "if epoch != self._lease.epoch:",
        "if False:",
        (FAR,),
    ),
    Mutation(
        "far workers",
        "the certificate alone lets a worker in",
        "bulkup/workers/door.py",
        "        if not self._key.is_secret(hello.secret):\n            return False\n",
        "",
        (DOOR,),
    ),
    Mutation(
        "far workers",
        "no certificate is asked for",
        "bulkup/workers/keys.py",
        "context.verify_mode = ssl.CERT_REQUIRED",
        "context.verify_mode = ssl.CERT_NONE",
        (DOOR,),
    ),
    Mutation(
        "formats",
        "others' formats come before ours",
        "bulkup/sources/inspection.py",
        "        for one in _told_by_signs():\n",
        "        for one in (*formats_of_others(), *_told_by_signs()):\n",
        (FORMATS,),
    ),
    Mutation(
        "formats",
        "what a name says comes before what the content says",
        "bulkup/sources/format.py",
        """    MAGIC = "magic"
    SUFFIX = "suffix"
""",
        """    SUFFIX = "suffix"
    MAGIC = "magic"
""",
        (FORMATS,),
    ),
    Mutation(
        "formats",
        "packed files can be read in any order",
        "bulkup/sources/format.py",
        "        if self.size is None or self.format.access is not _ANY_RANGE or self.compression is not _UNPACKED:\n",
        "        if self.size is None or self.format.access is not _ANY_RANGE:\n",
        (FORMATS,),
    ),
    Mutation(
        "formats",
        "what can be read in any order can be sent as it is",
        "bulkup/sources/format.py",
        "        return self.any_range and self.format.verbatim and self.remote is None and not self.renames\n",
        "        return self.any_range and self.remote is None and not self.renames\n",
        (FORMATS,),
    ),
    Mutation(
        "formats",
        "a chunk of what cannot be sent from its file is",
        "bulkup/flow/prepare.py",
        "        if chunk.verbatim and self._source.verbatim:\n",
        "        if chunk.verbatim:\n",
        ("tests/e2e/test_kill.py::test_five_kills_of_a_compressed_source",),
    ),
    Mutation(
        "one entry an option",
        "the environment goes before a flag",
        "bulkup/cli/choices.py",
        "        if flag is not None and flag != []:\n",
        "        if flag is not None and flag != [] and setting.variable not in environment:\n",
        (OPTIONS,),
    ),
    Mutation(
        "one entry an option",
        "bounds are not checked",
        "bulkup/settings/option.py",
        "            if bound is not None:\n",
        "            if False:\n",
        (OPTIONS,),
    ),
    Mutation(
        "one entry an option",
        "a flag's text is not read as its entry says",
        "bulkup/cli/choices.py",
        "        return setting.option.parse(given)\n",
        "        return given\n",
        (OPTIONS,),
    ),
    Mutation(
        "one verdict",
        "rows in doubt are no matter",
        "bulkup/account/verdict.py",
        "            (ExitCode.IN_DOUBT, totals.rows_in_doubt > 0),\n",
        "",
        (VERDICT,),
    ),
    Mutation(
        "one verdict",
        "a source that was not planned whole is done",
        "bulkup/account/verdict.py",
        "totals.rows_left > 0 or not (lane.planned_whole or lane.unreadable is not None)\n",
        "totals.rows_left > 0\n",
        (VERDICT,),
    ),
    Mutation(
        "one verdict",
        "an interrupted run has nothing left",
        "bulkup/account/verdict.py",
        "    if run.interrupted is not None and any(lane.totals.rows_left for lane in run.lanes.values()):\n",
        "    if False:\n",
        (VERDICT,),
    ),
    Mutation(
        "one verdict",
        "what a lane ended with is not recorded",
        "bulkup/flow/lane.py",
        ", lane.journal.set_fact(LANE_END, end)]",
        "]",
        (f"{STATUS}::test_status_after_an_end_says_what_the_receipt_says",),
    ),
    Mutation(
        "one verdict",
        "how the process before ended is taken for this one's end",
        "bulkup/run/lifetime.py",
        "journal.set_fact(RUN_END, None), *(journal.lane(name).set_fact(LANE_END, None) for name in lanes)\n",
        "journal.set_fact(RUN_END, None)\n",
        (VERDICT,),
    ),
    Mutation(
        "one verdict",
        "a run that was begun again has ended",
        "bulkup/run/lifetime.py",
        "journal.set_fact(RUN_END, None), *(",
        "*(",
        (VERDICT,),
    ),
    Mutation(
        "whole list",
        "a page that brings nothing new is one like any other",
        "bulkup/destinations/listing.py",
        "        if not new:\n",
        "        if False:\n",
        (LISTS,),
    ),
    Mutation(
        "whole list",
        "a cursor may come twice",
        "bulkup/destinations/listing.py",
        "        if len(self._cursors) == before:\n",
        "        if False:\n",
        (LISTS,),
    ),
    Mutation(
        "whole list",
        "a list that goes on nowhere has ended",
        "bulkup/destinations/nebius/wire.py",
        '                raise listing.broke("says that there is more, and not where")\n',
        "                return listing.datasets\n",
        (LISTS,),
    ),
    Mutation(
        "whole list",
        "fewer datasets than are counted are all of them",
        "bulkup/destinations/collinear/wire.py",
        '                    raise listing.broke(f"listed {listing.datasets:,} of {found.count:,} datasets")\n',
        "                    break\n",
        (LISTS,),
    ),
    Mutation(
        "whole list",
        "a list without end has none",
        "bulkup/destinations/listing.py",
        "        if self.datasets > self._known + MARGIN_DATASETS or self._pages > self._known + MARGIN_PAGES:\n",
        "        if self.datasets > MARGIN_DATASETS or self._pages > MARGIN_PAGES:\n",
        (LISTS,),
    ),
    Mutation(
        "whole list",
        "the same page of rows again is the next one",
        "bulkup/flow/looking.py",
        "            if {row.id for row in page} & {row.id for row in before} - {None}:\n",
        "            if False:\n",
        (LOOKING,),
    ),
    Mutation(
        "whole list",
        "a page of rows in the middle may be short",
        "bulkup/flow/looking.py",
        "                if number > 1 or is_smaller:\n",
        "                if False:\n",
        (LOOKING,),
    ),
    Mutation(
        "quiet period",
        "a name that is not shown is absent at once",
        "bulkup/doubt/settlement.py",
        "    if look.at < doubt.last_byte_at + quiet_s:\n",
        "    if False:\n",
        (f"{JUDGING}::TestByName",),
    ),
    Mutation(
        "quiet period",
        "a count without it makes a chunk absent at once",
        "bulkup/doubt/settlement.py",
        "    if looks[-1].at < doubt.last_byte_at + quiet_s:\n",
        "    if False:\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "quiet period",
        "a count is taken as it is, still or not",
        "bulkup/doubt/settlement.py",
        "    if not _stands_still(looks, quiet_s):\n",
        "    if False:\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "quiet period",
        "after a crash the last byte left when the first did",
        "bulkup/journal/queries.py",
        "lost = \"state = 'in doubt', reason = ?, last_byte_at = ?\"",
        "lost = \"state = 'in doubt', reason = ?, last_byte_at = min(last_byte_at, ?)\"",
        (STANDING_STILL,),
    ),
    Mutation(
        "positive control",
        "anything that landed is a control, however old",
        "bulkup/doubt/settlement.py",
        "if at > doubt.last_byte_at + quiet_s]",
        "if at]",
        (f"{JUDGING}::TestByName",),
    ),
    Mutation(
        "positive control",
        "a count needs none",
        "bulkup/doubt/settlement.py",
        "    if known.latest_landing > doubt.last_byte_at:\n",
        "    if True:\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "positive control",
        "what was found by looking is one",
        "bulkup/journal/queries.py",
        '"last_byte_at" if evidence is Evidence.ANSWER else "0"',
        '"last_byte_at"',
        (STANDING_STILL,),
    ),
    Mutation(
        "positive control",
        "the last chunk is absent after one look",
        "bulkup/doubt/settlement.py",
        "    if before and all(equal(other, look) for other in looks if other.at >= before[-1].at):\n",
        "    if True:\n",
        (f"{JUDGING}::TestByName",),
    ),
    Mutation(
        "fence",
        "rows are counted while requests are in flight",
        "bulkup/flow/fence.py",
        "                while self._sending:\n",
        "                while False:\n",
        (f"{STANDING_STILL}::TestFence", f"{DOUBT}::test_nothing_is_in_flight_while_rows_are_counted"),
    ),
    Mutation(
        "fence",
        "requests begin while rows are counted",
        "bulkup/flow/fence.py",
        "            while self._alone:\n                await self._changed.wait()\n            self._sending += 1",
        "            self._sending += 1",
        (f"{STANDING_STILL}::TestFence", f"{DOUBT}::test_nothing_is_in_flight_while_rows_are_counted"),
    ),
    Mutation(
        "names",
        "a dataset that was there before the run passes for a chunk",
        "bulkup/doubt/settlement.py",
        "if d.name == doubt.name and d.id not in known.before and d.id",
        "if d.name == doubt.name and d.id",
        (f"{JUDGING}::TestByName",),
    ),
    Mutation(
        "names",
        "the hash in a name says nothing",
        "bulkup/doubt/naming.py",
        "{rows_hash.hex()[:8]}",
        "00000000",  # the form stays, so that only what a hash is for is gone
        (f"{DOUBT}::test_a_dataset_of_the_same_place_and_another_content_is_not_the_chunk",),
    ),
    Mutation(
        "names",
        "the place in a name says nothing",
        "bulkup/doubt/naming.py",
        "{chunk}-{rows_hash",
        "00000-{rows_hash",
        (f"{DOUBT}::test_chunks_of_equal_content_have_datasets_of_their_own",),
    ),
    Mutation(
        "rows explain",
        "the ids of what has landed explain nothing",
        "bulkup/flow/stored_rows.py",
        "            ids.update(shown)\n",
        "            pass\n",
        ("tests/flow/test_settler.py",),
    ),
    Mutation(
        "rows explain",
        "rows that have landed need not be among those read back",
        "bulkup/flow/stored_rows.py",
        "        if hidden:\n",
        "        if False:\n",
        ("tests/flow/test_settler.py",),
    ),
    Mutation(
        "rows explain",
        "what has landed without ids explains nothing",
        "bulkup/journal/queries.py",
        "LANDED_WITHOUT_IDS = \"state = 'landed' AND ids_at IS NULL\"",
        'LANDED_WITHOUT_IDS = "0"',
        ("tests/journal/test_contract.py",),
    ),
    Mutation(
        "older journal",
        "a migration is made piece by piece",
        "bulkup/journal/opening.py",
        '    connection.execute("BEGIN IMMEDIATE")\n    migrate(connection, path.parent)\n    connection.execute("COMMIT")\n',
        "    migrate(connection, path.parent)\n",
        ("tests/journal/test_migration.py::test_killed_in_the_middle_it_is_the_old_one_or_the_new_one",),
    ),
    Mutation(
        "older journal",
        "a newer format is taken for ours",
        "bulkup/journal/opening.py",
        "    if known > FORMAT:\n",
        "    if False:\n",
        ("tests/journal/test_migration.py::test_of_another_format_it_is_refused_in_one_line",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a commit looks for no epoch",
        "bulkup/journal/postgres/writer.py",
        "            if mine.fetchone() is None:\n",
        "            if False:\n",
        (f"{POSTGRES}::test_whoever_was_taken_over_writes_nothing_and_sends_nothing",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a takeover need not wait for a commit",
        "bulkup/journal/postgres/writer.py",
        '"SELECT 1 FROM bulkup.runs WHERE run = %s AND epoch = %s FOR SHARE", (run, epoch))\n            db',
        '"SELECT 1 FROM bulkup.runs WHERE run = %s AND epoch = %s", (run, epoch))\n            db',
        (f"{POSTGRES}::test_while_a_group_is_committed_nobody_can_raise_the_epoch",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "whoever was taken over may still send",
        "bulkup/journal/postgres/lease.py",
        "        self._is_lost = True\n",
        "        pass\n",
        (f"{POSTGRES}::test_whoever_was_taken_over_writes_nothing_and_sends_nothing",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a run is taken over while its lease goes on",
        "bulkup/journal/postgres/lease.py",
        "        if is_held(standing):\n            return standing\n        began",
        "        began",
        (f"{POSTGRES}::test_a_lease_that_is_renewed_while_another_reaches_for_the_run_holds",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "who holds a run is not asked",
        "bulkup/journal/postgres/lease.py",
        "holder, CASE WHEN expires_at > clock_timestamp()",
        "holder, CASE WHEN expires_at IS NULL",
        (f"{POSTGRES}::test_a_process_that_lives_keeps_its_run",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "whoever has a folder's lock knows all holders dead",
        "bulkup/journal/postgres/lease.py",
        'return has_lock and here["boot"] is not None and here.items() <= standing.holder.items()',
        "return has_lock",
        (f"{POSTGRES}::test_the_lock_of_one_folder_says_nothing_of_others",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a lease runs from the answer",
        "bulkup/journal/postgres/lease.py",
        "        ).fetchone()\n        assert told is not None\n        epoch, *before = told\n",
        "        ).fetchone()\n        began = machine_clock()\n        assert told is not None\n        epoch, *before = told\n",
        (f"{POSTGRES}::test_a_lease_runs_from_before_it_was_asked_for",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a lease is not shorter here than in the database",
        "bulkup/journal/postgres/lease.py",
        "began + lease_s * (1 - MARGIN)",
        "began + lease_s",
        (f"{POSTGRES}::test_a_lease_runs_from_before_it_was_asked_for",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a renewed lease runs from the answer",
        "bulkup/journal/postgres/lease.py",
        "self._until = began + self._lease_s * (1 - MARGIN)",
        "self._until = machine_clock() + self._lease_s * (1 - MARGIN)",
        (f"{POSTGRES}::test_a_renewal_runs_from_before_it_was_asked_for",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a takeover leaves the datasets behind",
        "bulkup/journal/postgres/lease.py",
        '        db.execute("UPDATE bulkup.targets SET epoch = %s WHERE run = %s", (epoch, standing.run))\n',
        "",
        (f"{POSTGRES}::test_a_takeover_brings_the_datasets_along",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a holder that renews is taken for silent",
        "bulkup/journal/postgres/lease.py",
        "            and (seen.epoch, seen.until) == (standing.epoch, standing.until)\n            and self",
        "            and self",
        (f"{TAKEOVER}::test_a_renewal_that_comes_at_the_last_moment_counts",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "silence goes on while the database stands still",
        "bulkup/journal/postgres/lease.py",
        "min(at - self._at, _LONGEST_LOOK_S)",
        "(at - self._at)",
        (f"{TAKEOVER}::test_silence_is_time_in_which_the_database_answered",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "who was taken over early can send nothing more",
        "bulkup/flow/lane.py",
        "return max(await journal.fact(FAR_LEASE_S), journal.earlier_s)",
        "return await journal.fact(FAR_LEASE_S)",
        (f"{TAKEOVER}::test_what_was_sent_may_come_until_the_old_lease_ends",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "the one before the last is forgotten",
        "bulkup/journal/postgres/lease.py",
        "SET value = greatest(f.value::float8, excluded.value::float8)::text",
        "SET value = excluded.value",
        (f"{TAKEOVER}::test_a_longer_lease_of_one_before_is_not_forgotten",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a dataset is free once its run is given back",
        "bulkup/journal/postgres/lease.py",
        "greatest(extract(epoch FROM r.expires_at)::float8, f.value::float8, '-infinity'::float8)",
        "greatest(extract(epoch FROM r.expires_at)::float8, '-infinity'::float8)",
        (f"{TAKEOVER}::test_what_was_sent_may_come_until_the_old_lease_ends",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "what is in doubt is not over later on another machine",
        "bulkup/run/run_clock.py",
        "not_before(latest), rest_s=await _others_send_s(journal))",
        "not_before(latest))",
        (f"{TAKEOVER}::test_what_is_in_doubt_is_as_of_the_old_lease_s_end_on_any_machine",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a lease stands still while the machine sleeps",
        "bulkup/machine.py",
        'getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)',
        "time.CLOCK_MONOTONIC",
        (f"{TAKEOVER}::test_a_lease_ends_while_the_machine_sleeps",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a machine is known by its name",
        "bulkup/journal/postgres/lease.py",
        '        "boot": machine_boot(),\n',
        '        "boot": "",\n',
        (f"{POSTGRES}::test_the_lock_of_one_folder_says_nothing_of_others",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a folder is known by its path",
        "bulkup/journal/postgres/lease.py",
        '        "inode": [found.st_dev, found.st_ino],\n',
        "",
        (f"{POSTGRES}::test_the_lock_of_one_folder_says_nothing_of_others",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a dataset is taken from a run that has renewed its lease",
        "bulkup/journal/postgres/lease.py",
        "                    if not ended:",
        "                    if False:",
        (f"{TAKEOVER}::test_a_dataset_stays_with_a_run_that_renews_at_the_last_moment",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a commit that goes on is taken for none",
        "bulkup/journal/postgres/writer.py",
        "WHERE run = %s AND epoch = %s FOR UPDATE",
        "WHERE run = %s AND epoch = %s",
        (f"{POSTGRES}::test_a_connection_that_breaks_in_mid_commit_makes_it_count_once",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a run is renamed by whoever had it once",
        "bulkup/journal/postgres/runs.py",
        '"UPDATE bulkup.runs SET name = %s WHERE name = %s AND epoch = %s", (other, name, epoch)',
        '"UPDATE bulkup.runs SET name = %s WHERE name = %s", (other, name)',
        (f"{TAKEOVER}::test_a_process_of_an_old_epoch_changes_nothing",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a log is begun by whoever had the run once",
        "bulkup/journal/postgres/logs.py",
        "WHERE run = %s AND epoch = %s FOR SHARE)",
        "WHERE run = %s AND epoch >= %s FOR SHARE)",
        (f"{TAKEOVER}::test_a_process_of_an_old_epoch_changes_nothing",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a dataset is taken and its run writes on",
        "bulkup/journal/postgres/lease.py",
        "                        \"\"\"UPDATE bulkup.runs SET epoch = epoch + 1, expires_at = '-infinity', holder = ''\n",
        "                        \"\"\"UPDATE bulkup.runs SET expires_at = '-infinity', holder = ''\n",
        (f"{POSTGRES}::test_a_dataset_has_one_run",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a dataset that another run has is there for all",
        "bulkup/journal/postgres/lease.py",
        "            if run == claim.run or not is_current or not left_s:\n",
        "            if True:\n",
        (f"{POSTGRES}::test_a_dataset_has_one_run",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a stopped process's connection is left alone",
        "bulkup/journal/postgres/lease.py",
        "        _end_writer(db, standing.run, standing.epoch)\n    with db.transaction():\n",
        "    with db.transaction():\n",
        (f"{POSTGRES}::test_a_process_that_is_stopped_in_the_middle_of_a_group_holds_nobody_up",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "another database may answer than before",
        "bulkup/journal/postgres/lease.py",
        "        if failed_over:\n            db",
        "        if False:\n            db",
        (f"{POSTGRES}::test_where_another_database_answers_all_that_is_not_at_its_end_is_in_doubt",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "sending is told before it is durable",
        "bulkup/journal/postgres/keeper.py",
        "        await self._writer.tell(changes.sending(chunk, at))\n",
        "        self._writer.tell(changes.sending(chunk, at))\n",
        (f"{POSTGRES}::test_what_is_told_is_told_when_it_is_durable",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "what is told need not be committed",
        "bulkup/journal/postgres/writer.py",
        '                self._db.execute("COMMIT")\n                break\n',
        "                break\n",
        (f"{POSTGRES}::test_what_is_told_is_told_when_it_is_durable",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a database may commit what is not durable",
        "bulkup/journal/postgres/client.py",
        '    if found is None or found[0] in ("off", "local"):\n',
        "    if False:\n",
        (f"{POSTGRES}::test_where_commits_need_not_be_durable_they_are_asked_to_be",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a commit whose answer was lost is made again",
        "bulkup/journal/postgres/writer.py",
        "                    if results is not None and self._has_committed():\n",
        "                    if False:\n",
        (f"{POSTGRES}::test_a_connection_that_breaks_in_mid_commit_makes_it_count_once",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a commit whose answer was lost counts",
        "bulkup/journal/postgres/writer.py",
        "                    if results is not None and self._has_committed():\n",
        "                    if results is not None:\n",
        (f"{POSTGRES}::test_a_connection_that_breaks_in_mid_commit_makes_it_count_once",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "pieces of work that touch one chunk change places",
        "bulkup/journal/postgres/changes.py",
        "        if batch.ask is not None or batch.touched & touches:\n            break\n",
        "",
        (f"{POSTGRES}::test_a_piece_of_work_goes_before_none_that_touches_the_same_chunk",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a chunk that has come to its end moves on",
        "bulkup/journal/postgres/changes.py",
        "AND c.child = u.child AND c.ended = 0",
        "AND c.child = u.child",
        (f"{POSTGRES}::test_a_chunk_that_has_come_to_its_end_stays_there",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "a chunk that is not open is passed over",
        "bulkup/journal/postgres/writer.py",
        "                found = cursor.fetchone()[0] if batch.is_checked else None\n",
        "                found = None\n",
        (f"{POSTGRES}::test_a_chunk_that_has_come_to_its_end_stays_there",),
    ),
    Mutation(
        "journal in PostgreSQL",
        "after a crash the last byte left when the first did",
        "bulkup/journal/postgres/questions.py",
        "state = 'in doubt', reason = %s, last_byte_at = %s\n",
        "state = 'in doubt', reason = %s, last_byte_at = least(last_byte_at, %s)\n",
        (CONTRACT,),
    ),
    Mutation(
        "journal in PostgreSQL",
        "what was found by looking is a positive control",
        "bulkup/journal/postgres/changes.py",
        "THEN c.last_byte_at ELSE 0 END",
        "THEN c.last_byte_at ELSE c.last_byte_at END",
        (CONTRACT,),
    ),
    Mutation(
        "journal in PostgreSQL",
        "an absence is not counted",
        "bulkup/journal/postgres/changes.py",
        "reason = u.v0, absences = c.absences + 1",
        "reason = u.v0",
        (CONTRACT,),
    ),
    Mutation(
        "journal in PostgreSQL",
        "an epoch's ids begin where the first one's did",
        "bulkup/journal/postgres/logs.py",
        "SELECT coalesce(sum(length), 0) AS base",
        "SELECT 0 * coalesce(sum(length), 0) AS base",
        (f"{POSTGRES}::test_ids_and_rejected_rows_of_another_machine_are_missed_and_named",),
    ),
    Mutation(
        "invariant",
        "rows missing from the count are overlooked",
        "bulkup/doubt/settlement.py",
        "    if look.rows < expected:\n",
        "    if False:\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "invariant",
        "rows that no set of doubts explains are overlooked",
        "bulkup/doubt/settlement.py",
        "    if not fitting and look.rows != expected:\n",
        "    if False:\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "invariant",
        "of several sets of doubts that fit one is taken",
        "bulkup/doubt/settlement.py",
        "    return members if count == 1 else None\n",
        "    return members\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "invariant",
        "rows that a retry of the run has put there are overlooked",
        "bulkup/flow/settler.py",
        "base_rows=survey.rows + others.rows,",
        "base_rows=survey.rows,",
        ("tests/cli/test_retry.py::TestTheRunKnowsItsRetries::test_settle_does_not_take_them_for_a_chunk_in_doubt",),
    ),
    Mutation(
        "audit",
        "there is none",
        "bulkup/flow/settler.py",
        "        if not again:\n            return Audit()\n",
        "        if True:\n            return Audit()\n",
        (f"{DOUBT}::test_a_body_stored_after_its_chunk_was_called_absent_is_found_and_named",),
    ),
    Mutation(
        "audit",
        "a crash before it skips it",
        "bulkup/flow/lane.py",
        "            and await lane.journal.absences() == await lane.journal.fact(AUDITED)\n",
        "",
        (f"{DOUBT}::test_no_audit_is_skipped_by_a_crash",),
    ),
    Mutation(
        "story",
        "a lane ends without its audit",
        "bulkup/run/story.py",
        "            await lane.audit(sending)\n",
        "",
        (f"{DOUBT}::test_a_body_stored_after_its_chunk_was_called_absent_is_found_and_named",),
    ),
    Mutation(
        "story",
        "what turned out absent is not sent in another round",
        "bulkup/run/story.py",
        "                if not await lane.begin_anew():\n                    break\n",
        "                break\n",
        (f"{DOUBT}::test_a_body_stored_after_its_chunk_was_called_absent_is_found_and_named",),
    ),
    Mutation(
        "story",
        "a lane sends although its destination holds what the run did not put there",
        "bulkup/flow/first_look.py",
        "        elif look.seen and not append:\n",
        "        elif False:\n",
        ("tests/e2e/test_refusals.py::test_what_is_there_already_is_refused_unless_append",),
    ),
    Mutation(
        "story",
        "a run that was refused before it sent leaves its folder",
        "bulkup/run/story.py",
        " and not_begun.discard():\n",
        " and False:\n",
        ("tests/e2e/test_review.py::test_a_refused_command_leaves_no_run_behind",),
    ),
    Mutation(
        "kept answers",
        "an answer to any attempt settles a doubt",
        "bulkup/flow/kept_answers.py",
        "self._came.get((chunk.id, chunk.attempts))",
        "next((found for (id_, _), found in self._came.items() if id_ == chunk.id), None)",
        ("tests/flow/test_settler.py::TestKeptAnswers::test_an_answer_to_something_else_settles_nothing",),
    ),
    Mutation(
        "kept answers",
        "an answer is applied to what is not in doubt",
        "bulkup/flow/kept_answers.py",
        "chunk.state is not ChunkState.IN_DOUBT",
        "False",
        ("tests/flow/test_settler.py::TestKeptAnswers::test_only_a_doubt_is_settled",),
    ),
    Mutation(
        "kept answers",
        "a late landing counts as a control for others",
        "bulkup/flow/settler.py",
        "answer.remote_id, Evidence.KEPT_ANSWER, answer.ids",
        "answer.remote_id, Evidence.ANSWER, answer.ids",
        ("tests/flow/test_settler.py::TestKeptAnswers::test_it_is_no_control_for_others",),
    ),
    Mutation(
        "kept answers",
        "a late landing after PENDING counts as a control for others",
        "bulkup/flow/recorder.py",
        "Evidence.KEPT_ANSWER if chunk.was_in_doubt else Evidence.ANSWER",
        "Evidence.ANSWER",
        (
            "tests/flow/test_delivery.py"
            "::TestNotReady::test_what_was_in_doubt_before_it_was_answered_is_no_control_for_others",
        ),
    ),
    Mutation(
        "kept answers",
        "verdicts are carried out that were found without an answer that has come since",
        "bulkup/flow/settler.py",
        "            if any(self._kept_of(chunk) is not None for chunk in chunks):\n",
        "            if False:\n",
        (
            "tests/flow/test_settler.py::TestKeptAnswers"
            "::test_one_that_comes_while_the_service_is_looked_at_counts_before_what_was_seen",
        ),
    ),
    Mutation(
        "kept answers",
        "what far workers may still be sending is taken for over when the run is taken up",
        "bulkup/flow/lane.py",
        "return max(await journal.fact(FAR_LEASE_S), journal.earlier_s)",
        "return journal.earlier_s",
        ("tests/flow/test_settler.py::TestKeptAnswers::test_what_far_workers_may_still_send_is_waited_for",),
    ),
    Mutation(
        "takeover",
        "a process that was taken over before it sent discards the run that the other one has",
        "bulkup/journal/postgres/runs.py",
        "WHERE name = %s AND epoch = %s FOR UPDATE",
        "WHERE name = %s AND epoch >= %s FOR UPDATE",
        ("tests/journal/test_postgres.py::test_who_was_taken_over_discards_nothing_of_the_other_s",),
    ),
    Mutation(
        "sending before the first byte",
        "it is never written",
        "bulkup/flow/delivery.py",
        "            await self._journal.sending(chunk.id, self._clock.unix())\n",
        "            pass\n",
        (f"{SETTLE}::test_after_a_kill_it_settles_without_sending",),
    ),
    Mutation(
        "single-flight creation",
        "everybody may create",
        "bulkup/flow/creation.py",
        "        if self._exists:\n            return False\n        await",
        "        if True:\n            return False\n        await",
        ("tests/flow/test_creation.py", f"{DOUBT}::test_the_creating_chunk_in_doubt_makes_no_second_dataset"),
    ),
    Mutation(
        "single-flight creation",
        "the next one does not wait after a doubt",
        "bulkup/flow/creation.py",
        "        self._last_byte_at = self._clock()\n",
        "",
        (
            "tests/flow/test_creation.py",
            f"{DOUBT}::test_without_read_back_a_creating_chunk_in_doubt_is_waited_for",
        ),
    ),
    Mutation(
        "reset",
        "a connection without a whole answer is closed in peace",
        "bulkup/transport/sockets.py",
        "            if should_close or not line.body_was_whole():\n",
        "            if False:\n",
        (f"{RESETS}::test_nothing_of_a_body_that_was_given_up_arrives_once_the_service_reads_on",),
    ),
    Mutation(
        "early answer",
        "whatever comes early counts",
        "bulkup/transport/classify.py",
        "    return status in _REFUSED_EARLY or status // 100 == 3\n",
        "    return True\n",
        (f"{RESETS}::test_an_early_answer_that_proves_nothing_is_a_loss_in_the_body",),
    ),
    Mutation(
        "early answer",
        "no answer is early",
        "bulkup/transport/progress.py",
        "        self.is_early = not self.line.body_was_whole()\n",
        "        self.is_early = False\n",
        (f"{RESETS}::test_an_early_answer_that_proves_nothing_is_a_loss_in_the_body",),
    ),
    Mutation(
        "early answer",
        "a body that the kernel still holds is whole",
        "bulkup/transport/sockets.py",
        "        return sock is not None and _unacknowledged(sock.fileno()) == 0\n",
        "        return True\n",
        (f"{RESETS}::test_a_success_for_a_body_that_this_machine_still_holds_is_early",),
    ),
    Mutation(
        "worker",
        "the first worker's requests go on while it waits for the others",
        "bulkup/workers/serving.py",
        "        for task in self._tasks.values():\n            task.cancel()\n\n    async def idle",
        "        pass\n\n    async def idle",
        ("tests/workers/test_pool.py::test_what_a_worker_is_doing_stops_at_once_when_its_parent_is_killed",),
    ),
    Mutation(
        "worker",
        "an attempt of a worker that has ended is taken for not made",
        "bulkup/flow/executors.py",
        """            on_bytes(0)
            return Sent(InDoubt("the worker that was sending it has ended, or does not answer any more"))
""",
        """            return Sent(TryAgain("the worker that was sending it has ended, or does not answer any more"))
""",
        ("tests/e2e/test_workers.py::test_killed_workers_lose_nothing",),
    ),
    Mutation(
        "worker",
        "rows that a worker held are looked for there after its end",
        "bulkup/flow/executors.py",
        "        if not hold.executor.is_there:",
        "        if False:",
        ("tests/flow/test_executors.py::test_whoever_dies_the_rest_makes_the_same_rows",),
    ),
    Mutation(
        "worker",
        "a tile that a worker was cutting is cut once more from its beginning",
        "bulkup/flow/executors.py",
        "                        start, body_bytes, rows = part.stop,",
        "                        _, body_bytes, rows = part.stop,",
        ("tests/flow/test_executors.py::test_whoever_dies_the_rest_makes_the_same_rows",),
    ),
    Mutation(
        "stopped process",
        "a timer that fires late gives up at once",
        "bulkup/transport/stalls.py",
        "    return min(AGAIN_S, waited_s) if late_s >= LATE_S else 0.0\n",
        "    return 0.0\n",
        ("tests/test_stalls.py",),
    ),
    Mutation(
        "reaction",
        "a refusal waits by the gate alone",
        "bulkup/flow/reaction.py",
        "RetryAfter(max(refusal.wait_s or 0.0, at.gate_s), at_gate=True)",
        "RetryAfter(at.gate_s, at_gate=True)",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "a refusal waits by what it says alone",
        "bulkup/flow/reaction.py",
        "RetryAfter(max(refusal.wait_s or 0.0, at.gate_s), at_gate=True)",
        "RetryAfter(refusal.wait_s or 0.0, at_gate=True)",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "any wait is waited that the service asks for",
        "bulkup/flow/reaction.py",
        "        case None | Impatience.TOO_MANY:",
        "        case None | Impatience.TOO_MANY | Impatience.TOLD_TO_WAIT:",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "refusals never end",
        "bulkup/flow/reaction.py",
        "        case None | Impatience.TOO_MANY:",
        "        case None | Impatience.TOO_MANY | Impatience.NO_SUCCESS:",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "refusals are failures in a row",
        "bulkup/flow/reaction.py",
        "        case None | Impatience.TOO_MANY:  # it may be any number of refusals: the time that they take is limited\n",
        "        case None:\n",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "a token that was renewed is tried at once each time",
        "bulkup/flow/reaction.py",
        "RetryAfter(0.0) if at.failures == 1 else",
        "RetryAfter(0.0) if True else",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "a gateway may answer for ever",
        "bulkup/flow/reaction.py",
        "if at.pages <= GATEWAY_PAGES and at.impatience is None:",
        "if at.impatience is None:",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "a gateway may answer past patience",
        "bulkup/flow/reaction.py",
        "if at.pages <= GATEWAY_PAGES and at.impatience is None:",
        "if at.pages <= GATEWAY_PAGES:",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "pages of a gateway do not back off",
        "bulkup/flow/reaction.py",
        "full_jitter_s(at.pages, uniform)",
        "full_jitter_s(1, uniform)",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "what stops a lane is tried again",
        "bulkup/flow/reaction.py",
        "            return Stop(reason, exit_code)\n",
        "            return _back_off(reason, at, uniform)\n",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "failures do not back off",
        "bulkup/flow/reaction.py",
        "        case None:\n            return RetryAfter(full_jitter_s(at.failures, uniform))\n",
        "        case None:\n            return RetryAfter(full_jitter_s(1, uniform))\n",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "failures never end",
        "bulkup/flow/reaction.py",
        "        case None:\n            return RetryAfter(full_jitter_s(at.failures, uniform))\n",
        "        case None | Impatience.NO_SUCCESS | Impatience.TOLD_TO_WAIT:\n"
        "            return RetryAfter(full_jitter_s(at.failures, uniform))\n",
        (REACTION,),
    ),
    Mutation(
        "reaction",
        "any number may fail in a row",
        "bulkup/flow/reaction.py",
        "        case None:\n            return RetryAfter(full_jitter_s(at.failures, uniform))\n",
        "        case None | Impatience.TOO_MANY:\n            return RetryAfter(full_jitter_s(at.failures, uniform))\n",
        (REACTION,),
    ),
    Mutation(
        "requests",
        "a look that is refused teaches nothing",
        "bulkup/flow/requests.py",
        "                slot.answered(failed.outcome)\n",
        "                pass\n",
        (REQUESTS,),
    ),
    Mutation(
        "requests",
        "an answer that shows nothing is none",
        "bulkup/flow/requests.py",
        "            except ReadBackUnavailable:\n                slot.answered(None)\n",
        "            except ReadBackUnavailable:\n",
        (REQUESTS,),
    ),
    Mutation(
        "requests",
        "a gateway in front of looks stops the lane",
        "bulkup/flow/requests.py",
        "            if isinstance(next_, Stop) and isinstance(failure, StopLane) and failure.may_pass:\n",
        "            if False:\n",
        (REQUESTS,),
    ),
    Mutation(
        "requests",
        "a wait that the service orders uses up patience",
        "bulkup/flow/requests.py",
        "            self.patience.ordered_wait(now, failure.wait_s)\n",
        "            pass\n",
        (REQUESTS,),
    ),
    Mutation(
        "requests",
        "refusals are waited out beside the slot",
        "bulkup/flow/requests.py",
        "                if wait_s and not at_gate:\n",
        "                if wait_s:\n",
        (REQUESTS,),
    ),
    Mutation(
        "requests",
        "only uploads teach the quota",
        "bulkup/pacing/slot.py",
        "                if over_quota:\n",
        "                if over_quota and size:\n",
        (REQUESTS,),
    ),
    Mutation(
        "requests",
        "a question takes one slot, however many requests it makes",
        "bulkup/destinations/http.py",
        "    return await asking(partial(_asked, transport, token, method, path, decoder, body, params, max_bytes))\n",
        "    return await _asked(transport, token, method, path, decoder, body, params, max_bytes)\n",
        ("tests/destinations/test_pace.py",),
    ),
    Mutation(
        "requests",
        "a bench tells its pacing nothing",
        "bulkup/bench/sweeping.py",
        "            slot.answered(outcome)\n",
        "",
        ("tests/cli/test_bench.py::test_a_short_retry_after_is_kept",),
    ),
    Mutation(
        "requests",
        "a bench hears no quota",
        "bulkup/bench/sweeping.py",
        "            on_quota=lambda headers: self.pacing.headers(headers),\n",
        "",
        ("tests/cli/test_bench.py::test_a_quota_that_the_service_tells_is_kept_to",),
    ),
    Mutation(
        "requests",
        "datasets are read one after the other",
        "bulkup/flow/ahead.py",
        "    memory = ByteBudget(memory_bytes)\n",
        "    memory = ByteBudget(0)\n",
        ("tests/flow/test_ahead.py",),
    ),
    Mutation(
        "positive control",
        "it counts in a look of any length",
        "bulkup/doubt/settlement.py",
        "    if look.took_s <= quiet_s and any(",
        "    if any(",
        (f"{JUDGING}::TestByName",),
    ),
    Mutation(
        "quiet period",
        "two looks are apart by their beginnings",
        "bulkup/doubt/settlement.py",
        "looks[:-1] if look.at - other.ended_at >= quiet_s]",
        "looks[:-1] if look.at - other.at >= quiet_s]",
        (f"{JUDGING}::TestByName",),
    ),
    Mutation(
        "quiet period",
        "a count stands still from the beginning of its look",
        "bulkup/doubt/settlement.py",
        "        if last.at - look.ended_at >= quiet_s:\n",
        "        if last.at - look.at >= quiet_s:\n",
        (f"{JUDGING}::TestByCount",),
    ),
    Mutation(
        "quiet period",
        "a look takes no time",
        "bulkup/flow/looking.py",
        "took_s=clock.unix() - at)",
        "took_s=0.0)",
        (LOOKING,),
    ),
    Mutation(
        "policy",
        "a doubt that may have made the dataset waits like any other",
        "bulkup/doubt/by_count.py",
        "        if not totals.chunks_landed:\n",
        "        if False:\n",
        (POLICIES,),
    ),
    Mutation(
        "policy",
        "few doubts hold up what there is to be sent",
        "bulkup/doubt/by_count.py",
        "        return QUIET_PERIODS_AT_START * quiet_s if totals.chunks_in_doubt >= DOUBTS_TO_SETTLE else None\n",
        "        return QUIET_PERIODS_AT_START * quiet_s\n",
        (POLICIES,),
    ),
    Mutation(
        "policy",
        "a dataset that landed or was there before may be a doubt's",
        "bulkup/doubt/by_name.py",
        "            for dataset in _unaccounted(look, known)\n            if dataset.name in by_name",
        "            for dataset in look.seen\n            if dataset.name in by_name",
        (POLICIES,),
    ),
    Mutation(
        "policy",
        "the audit takes an open doubt's dataset for a late one",
        "bulkup/doubt/by_name.py",
        " - {chunk.name for chunk in doubts}\n",
        "\n",
        (POLICIES, "tests/flow/test_settler.py"),
    ),
    Mutation(
        "policy",
        "the audit is silent while anything is in doubt",
        "bulkup/doubt/by_count.py",
        "        if surplus <= sum(chunk.rows for chunk in doubts):",
        "        if doubts or not surplus:",
        (POLICIES, "tests/flow/test_settler.py"),
    ),
    Mutation(
        "policy",
        "as many datasets as have landed are those that have landed",
        "bulkup/doubt/by_name.py",
        "        return known.landed.keys() <= look.ids\n",
        "        return len(known.landed) <= len(look.ids)\n",
        (POLICIES,),
    ),
    Mutation(
        "policy",
        "where requests append, the first chunks may go side by side",
        "bulkup/doubt/by_count.py",
        "    has_dataset_per_chunk = False\n",
        "    has_dataset_per_chunk = True\n",
        (POLICIES,),
    ),
    Mutation(
        "identity",
        "where the dataset is does not make the run's id",
        "bulkup/destinations/settings.py",
        'for key in ("url", *self.place, *_ROWS, *self.row_settings)',
        'for key in ("url", *_ROWS, *self.row_settings)',
        ("tests/test_run_ids.py",),
    ),
    Mutation(
        "identity",
        "a service's own settings of the rows do not make the run's id",
        "bulkup/destinations/settings.py",
        "*_ROWS, *self.row_settings)",
        "*_ROWS)",
        ("tests/test_run_ids.py",),
    ),
    Mutation(
        "identity",
        "a dataset of that name in another place is the same",
        "bulkup/destinations/settings.py",
        "            record[field] == getattr(self, field) for field in self.place\n",
        "            True for field in self.place\n",
        ("tests/destinations/test_registry.py",),
    ),
    Mutation(
        "service",
        "what calls itself otherwise passes for the name that was asked for",
        "bulkup/destinations/registry.py",
        "    if found.name != entry.name:\n",
        "    if False:\n",
        ("tests/thirdparty/test_command_line.py::test_what_is_wrong_is_said_in_one_line",),
    ),
    Mutation(
        "service",
        "others' code is loaded for every command",
        "bulkup/cli/app.py",
        "    services = every_service() if is_help_of_command else built_in\n",
        "    services = every_service()\n",
        ("tests/thirdparty/test_command_line.py::test_nothing_of_others_is_loaded_unless_it_is_wanted",),
    ),
    Mutation(
        "rows",
        "auto takes a preset that fewer rows are in the shape of",
        "bulkup/encoding/choosing.py",
        "LEAST_PERCENT = 95\n",
        "LEAST_PERCENT = 94\n",
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "auto makes rows anew for a destination with a schema",
        "bulkup/encoding/choosing.py",
        "as_they_are = not named or target.rows.presets[named[0]].is_always_made",
        "as_they_are = not named",
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "nobody is kept from dropping tool calls",
        "bulkup/encoding/decision.py",
        "        if called:\n",
        "        if False:\n",
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "a key that stands twice passes in a block",
        "bulkup/encoding/doubled_keys.py",
        "    return isinstance(written, Refusal) or colons(written) != colons(lines)\n",
        "    return isinstance(written, Refusal)\n",
        (DOUBLED,),
    ),
    Mutation(
        "rows",
        "a colon in an escape makes up for a key that is lost",
        "bulkup/encoding/doubled_keys.py",
        "    if escapes_a_colon(lines):\n",
        "    if False:\n",
        (DOUBLED,),
    ),
    Mutation(
        "rows",
        "a key has two places in what was learned",
        "bulkup/encoding/doubled_keys.py",
        '    return b"(?:%b%b:%b%b%b)?" %',
        '    return b"(?:%b%b:%b%b%b)*" %',
        (DOUBLED,),
    ),
    Mutation(
        "rows",
        "what a row was mended of is not counted",
        "bulkup/encoding/rows.py",
        "_counted(Counter(dict(again.changes)) + mended.changes)",
        "again.changes",
        (DOUBLED,),
    ),
    Mutation(
        "rows",
        "earlier runs go on by the new rules",
        "bulkup/encoding/plan.py",
        'edition=data.get("edition", 1)',
        'edition=data.get("edition", 2)',
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "a shape that nobody named is checked",
        "bulkup/encoding/plan.py",
        "if not self.is_checked or self.mapping",
        "if self.mapping",
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "rows for a destination with a schema are not checked",
        "bulkup/encoding/checked.py",
        "        if not is_sure and any(",
        "        if False and any(",
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "values are counted, not rows",
        "bulkup/encoding/by_row.py",
        "        found.update(dict.fromkeys(+changes, 1))",
        "        found.update(+changes + changes)",
        (PRESETS,),
    ),
    Mutation(
        "rows",
        "an empty input stands below its instruction",
        "bulkup/destinations/collinear/presets.py",
        '_EMPTY = {b"null", b\'""\'}',
        '_EMPTY = {b"null"}',
        (PRESETS,),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every mutation; 1 if one survives, no longer applies, or its tests fail without it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", default="", help="only mutations in whose rule or description this stands")
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried at once")
    given = parser.parse_args(arguments)
    chosen = [m for m in MUTATIONS if given.only in m.rule or given.only in m.what]
    began = time.monotonic()
    stale = [m for m in chosen if (ROOT / m.file).read_text(encoding="utf-8").count(m.old) != 1]
    for mutation in stale:
        print(f"{mutation.file} does not hold this just once, so {mutation.what!r} cannot be tried:\n{mutation.old}")
    if stale or not chosen:
        return 1
    if said := _failed(sorted({test for m in chosen for test in m.tests}), None):
        print(f"without any mutation {said} fails already")
        return 1
    with ThreadPoolExecutor(given.jobs) as pool:
        killers = list(pool.map(lambda m: _failed(m.tests, m), chosen))
    print("| rule | mutation | test that failed |\n| --- | --- | --- |")
    for mutation, killer in zip(chosen, killers, strict=True):
        print(f"| {mutation.rule} | {mutation.what} | {killer or '**none: it survives**'} |")
    survivors = killers.count(None)
    print(f"\n{len(chosen)} mutations, {survivors} survive; {time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


def _failed(tests: Sequence[str], mutation: Mutation | None) -> str | None:
    """The first of *tests* that fails in a copy of the tree with *mutation*; None where none does."""
    with tempfile.TemporaryDirectory(prefix="bulkup-mutation-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        if mutation is not None:
            path = copy / mutation.file
            path.write_text(path.read_text(encoding="utf-8").replace(mutation.old, mutation.new), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "--tb",
            "no",
            "-p",
            "no:cacheprovider",
            *tests,
        ]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{tests[0]} (not over after {LONGEST_S} s)"
    if done.returncode == 0:
        return None
    failed = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if failed is None:  # a collection error, or no such test: that proves nothing
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return failed[1]


if __name__ == "__main__":
    sys.exit(main())
