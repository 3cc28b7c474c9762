"""What teams pay is noted when it changes, in the file or in the store: for statements of that time."""

import asyncio
from typing import Final

import structlog

from penstock.types.control import Configuration
from penstock.types.errors import StoreUnavailable
from penstock.types.store import Store

LOOK_S: Final = 2.0

_log = structlog.get_logger("penstock.control")


async def note_terms(store: Store, configuration: Configuration) -> None:
    """Until it is cancelled."""
    noted: object = None
    is_lost = False
    while True:
        of_file = configuration.file_terms()
        now = (configuration.view().revision, of_file)
        if now != noted:
            try:
                await store.note_terms(of_file)
            except StoreUnavailable as exc:
                if not is_lost:
                    _log.warning(
                        "terms of teams are not noted, as the store does not answer", reason=exc.message
                    )
                is_lost = True
            else:
                noted, is_lost = now, False
        await asyncio.sleep(LOOK_S)
