/**
 * What nodes do with the facts they share in Redis (shared-board.ts), each in one step: look for what is newer, say
 * something, drop what has ended. `KEYS`: the facts, and their order.
 */
import { RedisScript } from './redis-script.ts';

/** So many facts in one command. */
export const AT_ONCE = 100;

/** `ARGV`: an epoch to begin with, the one that is known, and its version. */
export const LOOK = new RedisScript(`
local epoch = redis.call('HGET', KEYS[1], '#epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', KEYS[1], '#epoch', epoch)
end
local version = tonumber(redis.call('HGET', KEYS[1], '#version') or '0')
local since = tonumber(ARGV[3])
if epoch ~= ARGV[2] or since > version then since = 0 end
local answer = {epoch, since, version}
if since == version then return answer end
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, ${AT_ONCE})
answer[2] = #found == 0 and version or tonumber(found[#found])
for i = 1, #found, 2 do
  answer[#answer + 1] = found[i]
  answer[#answer + 1] = redis.call('HGET', KEYS[1], found[i]) or ''
end
return answer`);

/** `ARGV`: name, time, node and JSON of each, and how many facts there may be before it. The answer: those without room. */
export const SAY = new RedisScript(`
local refused = {}
for i = 1, #ARGV, 5 do
  local name, at, node = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local current = redis.call('HGET', KEYS[1], name)
  local isLater = true
  if current then
    local ok, fact = pcall(cjson.decode, current)
    local then_ = ok and type(fact) == 'table' and tonumber(fact.at)
    if then_ then isLater = at > then_ or (at == then_ and node > tostring(fact.node)) end
  elseif redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[i + 4]) + 2 then -- #epoch, #version
    isLater = false
    refused[#refused + 1] = name
  end
  if isLater then
    redis.call('ZADD', KEYS[2], redis.call('HINCRBY', KEYS[1], '#version', 1), name)
    redis.call('HSET', KEYS[1], name, ARGV[i + 3])
  end
end
return refused`);

/** `ARGV`: name and JSON of each fact that may go, unless it is another one by now. */
export const DROP = new RedisScript(`
for i = 1, #ARGV, 2 do
  local current = redis.call('HGET', KEYS[1], ARGV[i])
  if not current or current == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
  end
end`);
