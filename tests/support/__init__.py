"""What several test layers, the demo and the benchmarks share."""
