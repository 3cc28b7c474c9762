"""Books that are put right: calls whose price was corrected, invoices that are compared with our usage."""

import asyncio
from functools import partial

from penstock.admin import invoice
from penstock.admin.bodies import Reconcile, Reconciliation, Rerate, RerateAnswer
from penstock.admin.desk import Request
from penstock.admin.reading import moment_us
from penstock.admin.statements import Kept, bounds, micros
from penstock.lib.registry import hint
from penstock.types.door import Answer
from penstock.types.errors import InvalidRequest
from penstock.types.money import Price, format_usd
from penstock.types.page import MAX_PAGE
from penstock.types.usage_store import Rerated, UsageWhere

AT_ONCE_S = 5.0  # of a request: whoever asks goes on with the cursor


class Books(Kept):
    async def rerate(self, request: Request) -> RerateAnswer:
        """Gives calls the cost that they have by the prices that hold now."""
        body: Rerate = request.body
        now_s = self.clock.wall()
        since_us = moment_us(body.since, now_s, "since")
        until_us = moment_us(body.until or f"{int(now_s) + 1}", now_s, "until")
        if until_us < since_us:
            raise InvalidRequest("`until` is before `since`.", param="until")
        where = UsageWhere(
            since_us, until_us, model=body.model, deployment=body.deployment, provider=body.provider
        )
        prices = await self._prices(where)
        end_s = self.clock.monotonic() + AT_ONCE_S
        total = Rerated(cursor=body.cursor)
        while True:
            found = await self.store.rerate_usage(
                where, prices, actor=request.caller.name, cursor=total.cursor, is_dry=body.dry_run
            )
            total = _added(total, found)
            if found.cursor is None or self.clock.monotonic() >= end_s:
                return RerateAnswer(
                    dry_run=body.dry_run,
                    changed=total.changed,
                    same=total.same,
                    no_price=total.no_price,
                    no_usage=total.no_usage,
                    nothing_owed=total.nothing_owed,
                    were_unpriced=total.were_unpriced,
                    before_usd=format_usd(total.before_pico),
                    after_usd=format_usd(total.after_pico),
                    cursor=total.cursor,
                )

    async def reconcile(self, request: Request) -> Reconciliation | Answer:
        """Raises InvalidRequest."""
        body: Reconcile = request.body
        month, since, until = bounds(body.month, self.clock.wall())
        self.require_kept(month, until)
        theirs = await asyncio.to_thread(invoice.read, body.invoice, body.columns, body.month, body.dates)
        where = UsageWhere(micros(since), micros(until), provider=body.provider)
        ours: list[invoice.Used] = []
        cursor: str | None = None
        while True:
            page = await self.store.sum_usage(
                where, by=("deployment",), step="day", cursor=cursor, limit=MAX_PAGE
            )
            for row in page.rows:
                model = self._model(body.provider, row.by["deployment"])
                ours.append(invoice.used(model, row))
            cursor = page.cursor
            if cursor is None:
                break
        known = self.configuration.providers()
        if not ours and body.provider not in known:
            said = f"there is no provider {body.provider!r}, and no usage of one in {body.month}"
            raise InvalidRequest(f"`provider`: {said}{hint(body.provider, [*known])}.", param="provider")
        compare = partial(invoice.compare, theirs, ours, body.models)
        found = await asyncio.to_thread(compare, provider=body.provider, month=body.month)
        if body.format == "csv":
            return Answer(body=invoice.as_csv(found).encode(), content_type="text/csv; charset=utf-8")
        return found

    def _model(self, provider: str, name: str) -> str:
        """What the provider calls it; of a deployment that is gone, as its name says."""
        deployment = self.configuration.deployment(name)
        return deployment.model if deployment is not None else name.removeprefix(f"{provider}/")

    async def _prices(self, where: UsageWhere) -> dict[str, Price]:
        """Of the deployments that were used then, as far as they are known now."""
        found: dict[str, Price] = {}
        cursor: str | None = None
        while True:
            page = await self.store.sum_usage(where, by=("deployment",), cursor=cursor, limit=MAX_PAGE)
            for row in page.rows:
                name = row.by["deployment"]
                deployment = self.configuration.deployment(name)
                if deployment is not None and deployment.price is not None:
                    found[name] = deployment.price
            cursor = page.cursor
            if cursor is None:
                return found


def _added(total: Rerated, found: Rerated) -> Rerated:
    counts = [name for name in Rerated.__struct_fields__ if name != "cursor"]
    sums = {name: getattr(total, name) + getattr(found, name) for name in counts}
    return Rerated(**sums, cursor=found.cursor)
