"""The files of public benchmarks: one function a benchmark; a file in, questions out."""
