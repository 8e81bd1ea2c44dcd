"""What bulkup's speed and memory are measured with. A leaf: nothing imports it. `python -m benchmarks --help` says how."""
