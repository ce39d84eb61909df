"""flamewire: continuous profiling of this process, pushed to a flamewire (or Grafana Pyroscope) server."""
