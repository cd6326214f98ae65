"""Training: multi-phase continued pretraining, one node per phase (design part 6).

`run` starts processes that `supervision` watches; each is a `worker`, which runs the `loop` of one
phase. What they stand on, each room on those above it:

    recipe       what a recipe says of training
    planning     rows, steps, mixture and learning rate of one phase
    stage        the parameters of a phase's node
    phases       all phases of a recipe together
    predict      memory, time and cost of a phase before it runs
    spec         what a training process is given, and what a phase hands on
    errors       why a phase ends early
    model        loss, masks, angles and probes of a model of transformers
    distributed  the ranks, and which rows of the model each holds
    adapters     LoRA and QLoRA
    step         one optimizer step
    checkpoints  checkpoints of a running phase
    monitoring   metrics, evaluations inside a phase, TensorBoard, trackers
    supervision  processes started, watched and started again
"""
