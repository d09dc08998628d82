"""The part of Caffe's file format that a network needs, as messages of the protobuf library.

Numbers and names are those of the published format (BVLC Caffe 1.0), in both of its generations: `layer`,
and `layers` before 2014. The values of weights are declared as bytes: a packed array of floats is stored like
them, and so millions of numbers are never turned into Python objects.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

_ENUMS = {
    "Phase": "TRAIN TEST",
    "Engine": "DEFAULT CAFFE CUDNN",
    "VarianceNorm": "FAN_IN FAN_OUT AVERAGE",
    "PoolMethod": "MAX AVE STOCHASTIC",
    "RoundMode": "CEIL FLOOR",
    "NormRegion": "ACROSS_CHANNELS WITHIN_CHANNEL",
    "EltwiseOp": "PROD SUM MAX",
    "ShareMode": "STRICT PERMISSIVE",
    "LayerType": (
        "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT "
        "IM2COL IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID "
        "SOFTMAX SOFTMAX_LOSS SPLIT TANH WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS "
        "MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION"
    ),
}

#: Each message; of each field the number, the type (* before it: repeated) and the default, if it has one.
_MESSAGES = """
BlobShape
  dim 1 *int64
BlobProto
  num 1 int64
  channels 2 int64
  height 3 int64
  width 4 int64
  data 5 *bytes
  shape 7 BlobShape
  double_data 8 *bytes
FillerParameter
  type 1 string
  value 2 float
  min 3 float
  max 4 float
  mean 5 float
  std 6 float
  sparse 7 int64
  variance_norm 8 VarianceNorm
NetState
  phase 1 Phase TEST
  level 2 int64 0
  stage 3 *string
NetStateRule
  phase 1 Phase
  min_level 2 int64
  max_level 3 int64
  stage 4 *string
  not_stage 5 *string
ParamSpec
  name 1 string
  share_mode 2 ShareMode
  lr_mult 3 float
  decay_mult 4 float
BatchNormParameter
  use_global_stats 1 bool true
  moving_average_fraction 2 float
  eps 3 float 1e-5
BiasParameter
  axis 1 int64 1
  num_axes 2 int64 1
  filler 3 FillerParameter
ConcatParameter
  concat_dim 1 uint64
  axis 2 int64 1
ConvolutionParameter
  num_output 1 uint64
  bias_term 2 bool true
  pad 3 *uint64
  kernel_size 4 *uint64
  group 5 uint64 1
  stride 6 *uint64
  weight_filler 7 FillerParameter
  bias_filler 8 FillerParameter
  pad_h 9 uint64
  pad_w 10 uint64
  kernel_h 11 uint64
  kernel_w 12 uint64
  stride_h 13 uint64
  stride_w 14 uint64
  engine 15 Engine
  axis 16 int64 1
  force_nd_im2col 17 bool
  dilation 18 *uint64
CropParameter
  axis 1 int64 2
  offset 2 *uint64
DropoutParameter
  dropout_ratio 1 float 0.5
  scale_train 2 bool true
EltwiseParameter
  operation 1 EltwiseOp SUM
  coeff 2 *float
  stable_prod_grad 3 bool
FlattenParameter
  axis 1 int64 1
  end_axis 2 int64 -1
InnerProductParameter
  num_output 1 uint64
  bias_term 2 bool true
  weight_filler 3 FillerParameter
  bias_filler 4 FillerParameter
  axis 5 int64 1
  transpose 6 bool
InputParameter
  shape 1 *BlobShape
LRNParameter
  local_size 1 uint64 5
  alpha 2 float 1
  beta 3 float 0.75
  norm_region 4 NormRegion ACROSS_CHANNELS
  k 5 float 1
  engine 6 Engine
PoolingParameter
  pool 1 PoolMethod MAX
  kernel_size 2 uint64
  stride 3 uint64
  pad 4 uint64
  kernel_h 5 uint64
  kernel_w 6 uint64
  stride_h 7 uint64
  stride_w 8 uint64
  pad_h 9 uint64
  pad_w 10 uint64
  engine 11 Engine
  global_pooling 12 bool
  round_mode 13 RoundMode CEIL
  ceil_mode 1000 bool true
PowerParameter
  power 1 float 1
  scale 2 float 1
  shift 3 float 0
PReLUParameter
  filler 1 FillerParameter
  channel_shared 2 bool
ReLUParameter
  negative_slope 1 float 0
  engine 2 Engine
ReshapeParameter
  shape 1 BlobShape
  axis 2 int64 0
  num_axes 3 int64 -1
ScaleParameter
  axis 1 int64 1
  num_axes 2 int64 1
  filler 3 FillerParameter
  bias_term 4 bool
  bias_filler 5 FillerParameter
EngineParameter
  engine 1 Engine
SliceParameter
  slice_dim 1 uint64
  slice_point 2 *uint64
  axis 3 int64 1
SoftmaxParameter
  engine 1 Engine
  axis 2 int64 1
LayerParameter
  name 1 string
  type 2 string
  bottom 3 *string
  top 4 *string
  loss_weight 5 *float
  param 6 *ParamSpec
  blobs 7 *BlobProto
  include 8 *NetStateRule
  exclude 9 *NetStateRule
  phase 10 Phase
  propagate_down 11 *bool
  concat_param 104 ConcatParameter
  convolution_param 106 ConvolutionParameter
  dropout_param 108 DropoutParameter
  eltwise_param 110 EltwiseParameter
  inner_product_param 117 InnerProductParameter
  lrn_param 118 LRNParameter
  pooling_param 121 PoolingParameter
  power_param 122 PowerParameter
  relu_param 123 ReLUParameter
  sigmoid_param 124 EngineParameter
  softmax_param 125 SoftmaxParameter
  slice_param 126 SliceParameter
  tanh_param 127 EngineParameter
  prelu_param 131 PReLUParameter
  reshape_param 133 ReshapeParameter
  flatten_param 135 FlattenParameter
  batch_norm_param 139 BatchNormParameter
  bias_param 141 BiasParameter
  scale_param 142 ScaleParameter
  input_param 143 InputParameter
  crop_param 144 CropParameter
V1LayerParameter
  bottom 2 *string
  top 3 *string
  name 4 string
  type 5 LayerType
  blobs 6 *BlobProto
  blobs_lr 7 *float
  weight_decay 8 *float
  concat_param 9 ConcatParameter
  convolution_param 10 ConvolutionParameter
  dropout_param 12 DropoutParameter
  inner_product_param 17 InnerProductParameter
  lrn_param 18 LRNParameter
  pooling_param 19 PoolingParameter
  power_param 21 PowerParameter
  eltwise_param 24 EltwiseParameter
  relu_param 30 ReLUParameter
  slice_param 31 SliceParameter
  include 32 *NetStateRule
  exclude 33 *NetStateRule
  loss_weight 35 *float
  tanh_param 37 EngineParameter
  sigmoid_param 38 EngineParameter
  softmax_param 39 SoftmaxParameter
  param 1001 *string
  blob_share_mode 1002 *ShareMode
NetParameter
  name 1 string
  layers 2 *V1LayerParameter
  input 3 *string
  input_dim 4 *int64
  force_backward 5 bool
  state 6 NetState
  debug_info 7 bool
  input_shape 8 *BlobShape
  layer 100 *LayerParameter
"""

#: The names that the old types have in the new format, where they are not the same words in capitals.
_RENAMED = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}


def _messages() -> dict[str, Any]:
    """The classes of the messages, by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="xdream/caffe.proto", package="xdream.caffe", syntax="proto2"
    )
    for name, values in _ENUMS.items():
        # In a message of its own: the values of enums that stand side by side must differ.
        enum = file.message_type.add(name=f"{name}s").enum_type.add(name=name)
        for value_number, value in enumerate(values.split()):
            enum.value.add(name=value, number=value_number)
    message: Any = None
    for line in _MESSAGES.strip().splitlines():
        if not line.startswith(" "):
            message = file.message_type.add(name=line)
            continue
        name, number, kind, *default = line.split()
        field = message.field.add(name=name, number=int(number))
        repeated, kind = kind.startswith("*"), kind.lstrip("*")
        field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
        if kind in _ENUMS:
            field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".xdream.caffe.{kind}s.{kind}"
        elif kind[0].isupper():
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".xdream.caffe.{kind}"
        else:
            field.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
        if default:
            [field.default_value] = default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: message for name, message in found.items()}


_CLASSES = _messages()
#: A whole network, as text or binary.
NetParameter: Any = _CLASSES["NetParameter"]
#: An array of weights.
BlobProto: Any = _CLASSES["BlobProto"]
_OLD_LAYER: Any = _CLASSES["V1LayerParameter"]


def layer_type(layer: Any) -> str:
    """The type of a layer of either generation, as the new one writes it."""
    if not isinstance(layer, _OLD_LAYER):
        return str(layer.type)
    old = layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name
    return _RENAMED.get(old) or "".join(word.capitalize() for word in old.split("_"))
