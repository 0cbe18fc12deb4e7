"""Every field of an experiment, once, with its unit and its reason.

A task file starts from `get_config(task, protocol)` and changes what is its own. The text after
the colon of `--config=configs/picking.py:builtin` is the protocol: which dataset, and how.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(task: str, protocol: str) -> ConfigDict:
    """All fields with the defaults of the published training on STEAD, then the protocol's.

    Raises:
        ValueError: no such protocol.
    """
    config = ConfigDict()
    config.task = task
    config.model = "seismollm"  # the model family, or seist_s, seist_m, seist_l
    config.seed = 0  # of initial weights, dropout, sample order and augmentation
    config.options = ConfigDict()  # the task's own settings, see the task's file
    # Fine-tuning: a checkpoint of the same network whose weights a new run starts from.
    config.start_from = ""

    config.backbone = ConfigDict()
    # A local directory with a Hugging Face GPT-2 (or one written by convert_weights.py), a hub
    # name (gpt2, gpt2-medium, gpt2-large, gpt2-xl), or "random" for an untrained one.
    config.backbone.weights = "gpt2"
    config.backbone.layers = 3  # decoder blocks kept
    config.backbone.start_layer = 0  # the first of them, counted from 0
    # lora: layer norms, positions and adapters learn (the paper). full: all of GPT-2 learns,
    # without adapters. frozen: none of it, without adapters.
    config.backbone.tuning = "lora"
    # Sizes used only with weights = "random"; otherwise config.json of the weights gives them.
    config.backbone.random = ConfigDict(
        {
            "n_embd": 768,
            "n_head": 12,
            "n_layer": 12,
            "n_positions": 1024,
            "embd_pdrop": 0.1,
            "attn_pdrop": 0.1,
            "resid_pdrop": 0.1,
        }
    )
    config.lora = ConfigDict()
    config.lora.rank = 16  # 0 leaves the adapters out
    config.lora.alpha = 16.0  # adapters are scaled by alpha / rank
    config.lora.dropout = 0.1  # on the adapters' input
    config.lora.targets = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")

    config.embedder = ConfigDict()
    config.embedder.channels = (16, 48, 96)  # last block: n_embd / patch_size
    config.embedder.kernels = (16, 8, 6, 1)  # samples, narrowest branch of each block
    config.embedder.kernel_steps = (8, 6, 4, 2)  # samples, from branch to branch
    config.embedder.strides = (2, 2, 2, 1)
    config.embedder.scales = 4  # branches of a block
    config.patch_size = 8  # embedder samples in a token
    config.head = ConfigDict({"channels": (128, 160, 192, 224)})  # per-sample head (picking)

    # Of the models seist_s, seist_m and seist_l, which have sizes of their own and use nothing of
    # the above: shares dropped in training; empty: as published, by size and task.
    config.seist = ConfigDict()
    config.seist.path_drop_rate = placeholder(float)  # stochastic depth, of the last block
    config.seist.attn_drop_rate = placeholder(float)  # attention probabilities
    config.seist.key_drop_rate = placeholder(float)  # keys
    config.seist.mlp_drop_rate = placeholder(float)  # end of feed-forward parts
    config.seist.other_drop_rate = placeholder(float)  # result of attention

    config.precision = ConfigDict()
    config.precision.compute = "float32"  # activations: float32 or bfloat16
    # Matrix products and convolutions: "default" is TF32 on recent GPUs and bfloat16 on TPUs,
    # "highest" is float32 everywhere.
    config.precision.matmul = "default"

    config.mesh = ConfigDict()
    # Devices over which large arrays of the network and the optimiser are split, for networks that
    # one device cannot hold; batches are always split over all devices.
    config.mesh.fsdp = 1

    config.data = ConfigDict()
    # stead (three layouts, found by looking), diting, seisbench (the format of some thirty
    # datasets), builtin, folder (miniSEED or SAC files with picks), prepared, mixture (several)
    config.data.format = "stead"
    config.data.path = ""  # directory of the dataset
    config.data.table = ""  # file name, where a directory holds several tables
    config.data.sampling_rate_hz = 100.0  # records of another rate are resampled to it
    config.data.window = 6000  # samples; STEAD's traces are as long
    # Each component for itself: std, max, none. All three by one number, which keeps the amplitude
    # ratios that back-azimuth and magnitude need: joint_std, joint_max.
    config.data.normalisation = "std"
    config.data.noise_rows = True  # use noise traces where the task can (the paper had none)
    config.data.magnitude_type = ""  # keep events of this type alone, such as "ml"
    # Traces with a signal-to-noise ratio below it on all components count as noise; empty: none.
    config.data.min_snr_db = placeholder(float)
    # Put P at this share of the window; empty draws the window instead.
    config.data.p_position_ratio = placeholder(float)
    config.data.coda_ratio = 2.0  # an event ends so many S-P times after S
    config.data.min_event_gap_s = 0.5  # seconds
    config.data.noise_keeps_values = True  # traces turned to noise keep magnitude, distance, ...
    config.data.fixed_eval_window = True  # False draws it with the seed, as the original does
    config.data.workers = 0  # loader processes a host; 0 reads in threads
    config.data.threads = 2  # reading threads of each of them
    config.data.builtin = ConfigDict({"traces": 0, "seed": 0})  # size of the built-in dataset
    # Of a folder of miniSEED or SAC files with picks (format "folder").
    config.data.folder = ConfigDict()
    config.data.folder.before_s = placeholder(float)  # kept before P; empty: half of data.window
    config.data.folder.after_s = placeholder(float)  # kept after P; empty: a whole data.window
    config.data.folder.instruments = ""  # band and instrument codes, such as "HH,EH"; empty: all
    config.data.split = ConfigDict()
    # row: the original's permutation, for numbers to compare with published ones. event: the
    # choice for new work, since no event is then in two parts. station; time: the latest events
    # are the test; column: the dataset's own; file: as a split file says.
    config.data.split.by = "row"
    config.data.split.path = ""  # the split file, such as split.csv.gz of another run
    # Share of the rows; the rest is the test split. The dataset's own and a file have their own.
    config.data.split.train = 0.8
    config.data.split.val = 0.1
    config.data.split.seed = 0  # of row, event and station, as is shuffle
    config.data.split.shuffle = True

    config.augment = ConfigDict()
    config.augment.enabled = True  # each record a second time, augmented
    config.augment.generate_noise_rate = 0.05  # replace the event by noise
    config.augment.add_event_rate = 0.0  # repeat an event later in the trace
    config.augment.max_events = 1
    config.augment.shift_rate = 0.2  # circular shift in time
    config.augment.drop_channel_rate = 0.4
    config.augment.scale_amplitude_rate = 0.4
    config.augment.pre_emphasis_rate = 0.4
    config.augment.pre_emphasis_ratio = 0.97
    config.augment.add_noise_rate = 0.4
    config.augment.gap_rate = 0.4
    config.augment.mask_percent = 0  # of half-second windows, set to 1
    config.augment.noise_percent = 0  # of half-second windows, replaced by noise
    # No part of the original, and before its operations; docs/augmentation.md has the labels.
    config.augment.rotate_rate = 0.0  # ground and source about the vertical, back-azimuth too
    config.augment.flip_polarity_rate = 0.0  # sign of all components, polarity too
    # Another training record's event, for picking: other labels go missing, since two events have
    # two magnitudes.
    config.augment.superpose_rate = 0.0
    config.augment.superpose_level_db = (-10.0, 10.0)  # against the record's own event
    config.augment.real_noise_rate = 0.0  # add one of the dataset's noise traces
    config.augment.real_noise_snr_db = (0.0, 30.0)  # event over added noise

    config.optim = ConfigDict()
    config.optim.name = "adam"  # adam, adamw, sgd
    config.optim.weight_decay = 0.0
    config.optim.momentum = 0.9  # sgd only
    config.optim.clip_norm = 0.0  # largest norm of the gradient over all parameters; 0: any
    # Decay a step, such as 0.999, of averaged weights, which then are validated, kept as the
    # network of a checkpoint, evaluated and used; 0: the weights themselves are.
    config.optim.average = 0.0
    # triangle: from base_lr to max_lr in up_steps and back in down_steps, for ever (the original).
    # exp_range: the same, its height shrinking by sqrt(base_lr) over the training (SeisT's).
    # cosine: the same way up, then half a wave down to base_lr, where it stays. constant: the way
    # up, then max_lr.
    config.optim.schedule = "triangle"
    config.optim.base_lr = 5e-4
    config.optim.max_lr = 1e-3
    config.optim.up_steps = 4500
    config.optim.down_steps = 5000

    config.train = ConfigDict()
    config.train.batch_size = 1024  # over all devices
    config.train.accumulate = 1  # micro-batches that go through the network one after the other
    # Statistics that batch norms normalise by in training: those of the batch, or those stored with
    # the weights of start_from, which then stay.
    config.train.batch_norm = "batch"  # batch or stored
    # Work activations out again for the gradient, block by block, instead of keeping them.
    config.train.rematerialise = False
    config.train.epochs = 200
    config.train.steps = 0  # if positive, sets the epochs instead (rounded up)
    config.train.patience = 30  # epochs without improvement before stopping
    config.train.log_every = 20  # steps
    config.train.pictures = 4  # windows of the validation drawn for TensorBoard; 0: no pictures
    config.train.wandb = ""  # project on Weights & Biases that gets figures and pictures too
    # What a device can do, for its utilisation; 0: as published for chips that are known.
    config.train.peak_tflops = 0.0
    # Steps between checkpoints within an epoch, for runs that are killed; 0: at its end alone.
    config.train.save_every = 1000
    # Checkpoints leave the frozen arrays out, which then must be those of backbone.weights.
    config.train.adapters_only = False
    # A step whose loss is not finite ends the run (stop), or is left out and counted (skip).
    config.train.nonfinite = "stop"
    config.train.eval_batch_size = 256  # over all devices
    config.train.shuffle = True

    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    PROTOCOLS[protocol](config)
    return config


def stead(config: ConfigDict) -> None:
    """Training on STEAD as published: the values above, without noise traces."""
    config.data.split.by = "row"  # and so with traces of one event in all parts
    config.data.noise_rows = False


def stead_fewshot(config: ConfigDict) -> None:
    """A tenth of STEAD to train on, 5 % to validate, the other 85 % to test."""
    stead(config)
    config.data.split.train, config.data.split.val = 0.1, 0.05
    config.train.batch_size = 512
    config.optim.up_steps, config.optim.down_steps = 600, 800


def diting(config: ConfigDict) -> None:
    """Training on the full table of DiTing, with the published settings for its light one."""
    config.data.format = "diting"
    config.data.table = "full"
    config.data.sampling_rate_hz = 50.0
    config.data.window = 8192  # of 9000 samples
    config.data.split.by = "row"  # and so with traces of one event in all parts
    config.train.batch_size = 512
    config.optim.up_steps, config.optim.down_steps = 2500, 3000


def diting_light(config: ConfigDict) -> None:
    """Training on the light table of DiTing as published: a tenth of it, with every label."""
    diting(config)
    config.data.table = "light"


def diting_fewshot(config: ConfigDict) -> None:
    """The few-shot table of DiTing, which is all test: for eval.py, not for training."""
    diting(config)
    config.data.table = "fewshot"
    config.data.split.train, config.data.split.val = 0.0, 0.0


def seisbench(config: ConfigDict) -> None:
    """A dataset in SeisBench's format in the parts that it has itself.

    data.path is its folder, or seisbench:NAME for one that the seisbench package downloads. One
    without parts needs data.split.by=event. The cycle is that of the few-shot training.
    """
    config.data.format = "seisbench"
    config.data.split.by = "column"
    config.train.batch_size = 256
    config.optim.up_steps, config.optim.down_steps = 600, 800


def own(config: ConfigDict) -> None:
    """Your own records: a folder of miniSEED or SAC files with picks, or data.format=seisbench.

    No event is in two parts. The cycle of the learning rate is that of the few-shot training, since
    most catalogues are nearer to that in size than to STEAD.
    """
    config.data.format = "folder"
    config.data.split.by = "event"
    config.train.batch_size = 256
    config.optim.up_steps, config.optim.down_steps = 600, 800


def builtin(config: ConfigDict) -> None:
    """The built-in dataset and a network that a laptop trains in minutes.

    The backbone is small and random, because a download must not stand between a newcomer and a
    first result, and because GPT-2's published widths need a GPU.
    """
    config.data.format = "builtin"
    config.data.path = "data/builtin"
    config.data.builtin.traces = 4000
    config.data.split.by = "event"  # nothing published to compare with
    config.data.window = 3072
    config.backbone.weights = "random"
    config.backbone.layers = 2
    config.backbone.random = ConfigDict(
        {
            "n_embd": 128,
            "n_head": 4,
            "n_layer": 2,
            "n_positions": 1024,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }
    )
    config.backbone.tuning = "full"  # nothing pretrained is there to be kept
    config.embedder.channels = (8, 16, 32)
    config.embedder.kernels = (8, 6, 4, 1)
    config.embedder.scales = 2
    config.head.channels = (16, 16, 16, 16)
    # Small batches and no augmentation: the same score in a third of the time, and the generator
    # has variety of its own.
    config.augment.enabled = False
    config.train.batch_size = 16
    config.train.eval_batch_size = 64
    config.train.epochs = 12
    config.train.patience = 12
    # One cycle over about as many steps as there are, so that a run ends on the lowest rate.
    config.optim.base_lr, config.optim.max_lr = 2e-5, 1.5e-3
    config.optim.up_steps, config.optim.down_steps = 100, 2312


def smoke(config: ConfigDict) -> None:
    """Seconds, not minutes: shows that everything runs. Learns next to nothing."""
    builtin(config)
    config.data.path = "data/builtin_smoke"
    config.data.builtin.traces = 64
    config.data.window = 1024
    config.backbone.random.n_embd = 32
    config.backbone.layers = 1
    config.embedder.channels = (4, 4, 4)
    config.head.channels = (4, 4, 4, 4)
    config.train.batch_size = 8
    config.train.eval_batch_size = 8
    config.train.epochs = 2
    config.train.log_every = 2


PROTOCOLS = {
    "stead": stead,
    "stead_fewshot": stead_fewshot,
    "builtin": builtin,
    "smoke": smoke,
    "own": own,
    "diting": diting,
    "diting_light": diting_light,
    "diting_fewshot": diting_fewshot,
    "seisbench": seisbench,
}
