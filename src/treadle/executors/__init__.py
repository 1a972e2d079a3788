"""Where and how a bundle runs: the caller, an event loop, threads, processes, a pool of yours, a cluster."""
