"""A corpus embedded by many actors on Ray, shard by shard, without holding it in memory."""
