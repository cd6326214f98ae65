"""What a phase shows while it runs: metrics, TensorBoard, trackers, held-out loss, samples."""
