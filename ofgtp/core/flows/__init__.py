"""What the switch is told: flows as values, the pipeline, the comparison; switches' faults."""
