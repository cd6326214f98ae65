"""The engine that runs shards on a Ray cluster: one of this machine that ends with the run, or one
that is there.

- `head`: a process that starts a cluster on this machine, and ends it however its parent ends
- `connection`: joins a cluster, and says in one sentence why it cannot
- `nodes`: whether a node would write the same bytes, and sees the same store
- `actor`: what runs in a worker of the cluster
- `cluster`, `room`, `jobs`, `words`: its nodes and workers, what fits where, what is said of them
- `pool`: gives shards to workers, and replaces lost ones
- `engine`: the `map`

Ray moves pickled items to workers and small records back. Everything else goes through the store.
"""
