local key = KEYS[1]
local capacity = tonumber(ARGV[1])
local refill_rate = tonumber(ARGV[2])  -- tokens per second
local tokens_needed = tonumber(ARGV[3])
local now = tonumber(ARGV[4])

-- Get current state
local data = redis.call("HMGET", key, "tokens", "last_refill")
local tokens = tonumber(data[1]) or capacity
local last_refill = tonumber(data[2]) or now

-- Calculate refill
local elapsed = (now - last_refill) / 1000  -- Convert to seconds
tokens = math.min(capacity, tokens + elapsed * refill_rate)

-- Check and consume
if tokens >= tokens_needed then
  tokens = tokens - tokens_needed
  redis.call("HMSET", key, "tokens", tokens, "last_refill", now)
  redis.call("EXPIRE", key, 3600)
  return {1, math.floor(tokens)}
end

-- Update state even if denied
redis.call("HMSET", key, "tokens", tokens, "last_refill", now)
redis.call("EXPIRE", key, 3600)

-- Calculate wait time for next token
local wait_ms = ((tokens_needed - tokens) / refill_rate) * 1000
return {0, math.floor(wait_ms)}
