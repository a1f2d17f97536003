"""What lies beside a model that was cut: records of its cut, compensation and recovery."""
