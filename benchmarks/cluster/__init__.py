"""What is measured on a real Kubernetes; its nodes beyond the first are simulated, and say so."""
