"""Uploads in the environments that real machines have: each as a process, to its exit code and one clear line."""
