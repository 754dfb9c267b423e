"""Target of the ``deepspeed`` launcher and torchrun: the same training as ``langpose train``.

deepspeed --num_gpus 2 launch/train.py --config configs/pretrain/small.yaml data.path=data/bandai
"""

import sys

from langpose_dist.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
