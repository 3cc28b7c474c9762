"""Calls under way, so that those of a key that is good no more can be ended.

Running[exchange] = call     while its walk goes on
end(keys)                    their tasks are cancelled; each tells its client why, in its own protocol
"""

from collections.abc import Collection

from penstock.gateway.exchange import Exchange
from penstock.types.call import Call
from penstock.types.errors import InvalidApiKey


class Running(dict[Exchange, Call]):
    def end(self, keys: Collection[str]) -> int:
        """Of the keys with these names; how many calls were ended."""
        found = [
            (exchange, call)
            for exchange, call in self.items()
            if call.key is not None and call.key.name in keys and exchange.task is not None
        ]
        for exchange, call in found:
            call.cut = InvalidApiKey("The API key was revoked while this answer was under way.")
            if exchange.task is not None:
                exchange.task.cancel()
        return len(found)
