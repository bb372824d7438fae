"""Optimizers, and the pipeline that shapes the gradient of another optimizer."""

from keras_ext._anatomy._unit_axes import unit_axes
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext.optimizers import operators
from keras_ext.optimizers._adabelief import AdaBelief
from keras_ext.optimizers._adabound import AdaBound
from keras_ext.optimizers._adam_mini import AdamMini
from keras_ext.optimizers._adan import Adan
from keras_ext.optimizers._ademamix import AdEMAMix
from keras_ext.optimizers._adopt import ADOPT
from keras_ext.optimizers._cocob import COCOB
from keras_ext.optimizers._compose import compose
from keras_ext.optimizers._d_adapt_adam import DAdaptAdam
from keras_ext.optimizers._dog import DoG
from keras_ext.optimizers._dowg import DoWG
from keras_ext.optimizers._fit_lbfgs import fit_lbfgs
from keras_ext.optimizers._get import get
from keras_ext.optimizers._lamb import LAMB
from keras_ext.optimizers._lars import LARS
from keras_ext.optimizers._ldog import LDoG
from keras_ext.optimizers._momo import Momo
from keras_ext.optimizers._muon_conv import MuonConv
from keras_ext.optimizers._novograd import NovoGrad
from keras_ext.optimizers._prodigy import Prodigy
from keras_ext.optimizers._radam import RAdam
from keras_ext.optimizers._sgdw import SGDW
from keras_ext.optimizers._shampoo import Shampoo
from keras_ext.optimizers._soap import SOAP
from keras_ext.optimizers._sophia import Sophia
from keras_ext.optimizers._summary import OptimizerSummary, summary
from keras_ext.optimizers._yogi import Yogi
from keras_ext.optimizers.wrappers._admm import ADMM
from keras_ext.optimizers.wrappers._cautious import Cautious
from keras_ext.optimizers.wrappers._lookahead import Lookahead
from keras_ext.optimizers.wrappers._mechanic import Mechanic
from keras_ext.optimizers.wrappers._proximal import Proximal
from keras_ext.optimizers.wrappers._schedule_free import ScheduleFree

__all__ = [
    "ADMM",
    "ADOPT",
    "AdEMAMix",
    "AdaBelief",
    "AdaBound",
    "AdamMini",
    "Adan",
    "COCOB",
    "Cautious",
    "DAdaptAdam",
    "DoG",
    "DoWG",
    "GradientPipeline",
    "LAMB",
    "LARS",
    "LDoG",
    "Lookahead",
    "Mechanic",
    "Momo",
    "MuonConv",
    "NovoGrad",
    "OptimizerSummary",
    "Prodigy",
    "Proximal",
    "RAdam",
    "SGDW",
    "SOAP",
    "ScheduleFree",
    "Shampoo",
    "Sophia",
    "Yogi",
    "compose",
    "fit_lbfgs",
    "get",
    "operators",
    "summary",
    "unit_axes",
]
