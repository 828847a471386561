"""What sessions have used: counted over every change of their flows."""
