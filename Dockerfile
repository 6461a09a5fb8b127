# The toolkit with CUDA, flash-attention and DeepSpeed, for machines with GPUs:
#
#   docker build -t temple .
#   docker run --gpus all --shm-size 16g -v ~/videos:/videos -v "$PWD/data:/temple/data" -it temple
#
# The base has the compiler that flash-attention and DeepSpeed are built with; its CUDA is that of the
# torch in requirements.txt. The image was linted, and has not been built yet.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make ninja-build python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /temple
ENV VIRTUAL_ENV=/opt/temple PATH=/opt/temple/bin:$PATH PIP_NO_CACHE_DIR=1

# The packages first: a change of the code leaves these layers as they are.
COPY requirements.txt ./
RUN python3 -m venv "$VIRTUAL_ENV" && pip install -r requirements.txt

# Architectures to build for: 80 is the A100's, 90 the H100's. A job of the build takes 9 GB of memory.
ARG FLASH_ATTN_CUDA_ARCHS="80;90"
ARG MAX_JOBS=4
RUN pip install setuptools==80.9.0 wheel==0.45.1 \
    && pip install --no-build-isolation flash-attn==2.8.3.post2 deepspeed==0.19.8

COPY . .
RUN pip install --no-deps -e . \
    && cat pyproject.toml requirements.txt | cksum >"$VIRTUAL_ENV/ready"
ENV VENV=/opt/temple
CMD ["bash"]
