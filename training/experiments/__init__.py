"""The experiments of EXPERIMENTS.md, one command each: `python -m scarlens.training.experiments NAME --help`."""
