"""Smaller models: zeros in their weights, and what they are worth in a file."""

from keras_ext.compression._attention_transfer import AttentionTransfer
from keras_ext.compression._cluster import cluster
from keras_ext.compression._compress import compress
from keras_ext.compression._constant_sparsity import ConstantSparsity
from keras_ext.compression._decoupled_distillation import DecoupledDistillation
from keras_ext.compression._distill import distill
from keras_ext.compression._early_exit import EarlyExit, early_exit
from keras_ext.compression._keep_clusters import KeepClusters
from keras_ext.compression._keep_zeros import KeepZeros
from keras_ext.compression._litert_file import LiteRTFile
from keras_ext.compression._low_rank import low_rank
from keras_ext.compression._polynomial_decay import PolynomialDecay
from keras_ext.compression._projected_features import ProjectedFeatures
from keras_ext.compression._prune import Prune
from keras_ext.compression._prune_at_once import prune
from keras_ext.compression._pruning_report import PruningReport
from keras_ext.compression._quantization_range import QuantizationRange
from keras_ext.compression._quantize_aware import quantize_aware, strip_quantization
from keras_ext.compression._rig_l import RigL
from keras_ext.compression._run_tfmot import run_tfmot
from keras_ext.compression._size_report import SizeReport, size_report
from keras_ext.compression._soft_targets import SoftTargets
from keras_ext.compression._sparsity_schedule import SparsitySchedule
from keras_ext.compression._to_litert import to_litert
from keras_ext.compression._to_tf_keras import from_tf_keras, to_tf_keras

__all__ = [
    "AttentionTransfer",
    "ConstantSparsity",
    "DecoupledDistillation",
    "EarlyExit",
    "KeepClusters",
    "KeepZeros",
    "LiteRTFile",
    "PolynomialDecay",
    "ProjectedFeatures",
    "Prune",
    "PruningReport",
    "QuantizationRange",
    "RigL",
    "SizeReport",
    "SoftTargets",
    "SparsitySchedule",
    "cluster",
    "compress",
    "distill",
    "early_exit",
    "from_tf_keras",
    "low_rank",
    "prune",
    "quantize_aware",
    "run_tfmot",
    "size_report",
    "strip_quantization",
    "to_litert",
    "to_tf_keras",
]
