-- ARGV: lease, 1 when this was asked before and went without an answer, kept_us, requests, tokens, pico_usd,
-- scopes. A lease that is not known is booked as used, unless it may be unknown because this was done already.

local lease, is_uncertain, kept = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local actual = {requests = num(ARGV[4]), tokens = num(ARGV[5]), pico_usd = num(ARGV[6])}
local now = now_us()
local scopes = open(now, kept, 7)

local function settle(scope, hold, limit)
  local left, mine = actual[limit.resource] or {0, 0}, {}
  for _, entry in ipairs(hold.entries) do
    if entry.limit == limit.key and entry.state ~= 'g' then mine[#mine + 1] = entry end
  end
  for i, entry in ipairs(mine) do
    local counts = entry.number >= limit.number - limit.reach and slice(scope, entry.limit, entry.number)
    local taken = less(left, entry.amount) and left or entry.amount
    if counts and i == #mine then taken = left end
    left = minus(left, taken)
    if counts and entry.state == 'x' then
      change(scope, limit.key, entry.number, {
        used = {taken, entry.amount}, expired = {{0, 0}, entry.amount}})
    elseif counts then
      change(scope, limit.key, entry.number, {
        used = {taken, {0, 0}}, reserved = {{0, 0}, entry.amount}})
    end
  end
  if not is_zero(left) then
    change(scope, limit.key, limit.number, {used = {left, {0, 0}}})
  end
end

for _, scope in ipairs(scopes) do
  local hold = hold_of(scope, lease)
  if hold then
    for _, limit in ipairs(scope.limits) do settle(scope, hold, limit) end
    redis.call('HDEL', scope.leases, lease)
  elseif not is_uncertain then
    for _, limit in ipairs(scope.limits) do settle(scope, {entries = {}}, limit) end
  end
end
close(scopes, kept / 1000)
return now
