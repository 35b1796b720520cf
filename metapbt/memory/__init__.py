"""What related contexts taught: sources, scales, the meta-trained kernel, trust."""
