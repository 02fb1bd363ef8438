"""Records the answers that the stand-in of `reactune bench server` gives: `python -m tests.benchmarks.record_answers`.

The bundled base answers the stored messages anew, with the default card and settings. It takes about ten minutes, and
is due when the card or the base has changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from bot.demo.community import TASTES, read_community_answers
from storage.taste.examples import NO_EXAMPLES, Examples
from tests.benchmarks.community import settings_of_bench, workshop
from tests.benchmarks.report import notes
from tests.benchmarks.served import Served, served_bot
from tests.benchmarks.server_policies import EACH, PLAIN_ANSWERS, SERVED_ANSWERS


def main() -> None:
    asked = [one.message for one in read_community_answers(SERVED_ANSWERS) for _ in range(EACH)]
    with workshop() as folder, served_bot(settings_of_bench(folder, seed=0)) as bot:
        of_card = Examples.of(bot.services.settings, bot.personality.card)
        for path, shown in ((SERVED_ANSWERS, of_card), (PLAIN_ANSWERS, NO_EXAMPLES)):
            _write(path, bot.answer(asked, None, shown=shown, candidates=1))


def _write(path: Path, said: Sequence[Served]) -> None:
    rows = [
        {"message": said[start].message, "answers": [one.text for one in said[start : start + EACH]]}
        for start in range(0, len(said), EACH)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    shares = (f"{name} {fmean(taste(one.message, one.text) for one in said):.0%}" for name, taste in TASTES.items())
    notes.print(f"{path.name}: {', '.join(shares)}")


if __name__ == "__main__":
    main()
