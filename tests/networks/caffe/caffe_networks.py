"""Definitions of networks in the shape of the published ones, at any width."""

from caffe_files import head, layer


def conv(name, bottom, n, kernel, stride=1, pad=0, *, kind="Convolution", more=""):
    size = f"kernel_size: {kernel} pad: {pad}"
    if isinstance(kernel, tuple):
        size = f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} pad_h: {pad[0]} pad_w: {pad[1]}"
    settings = f"convolution_param {{ num_output: {n} stride: {stride} {size} {more} }}"
    return layer(kind, name, bottom, settings=settings)


def relu(name, blob, slope=None):
    return layer(
        "ReLU", name, blob, blob, "" if slope is None else f"relu_param {{ negative_slope: {slope} }}"
    )


def normed(name, bottom, n, kernel, stride=1, pad=0):
    """A convolution without bias, then normalisation, scale and ReLU in place."""
    return (
        conv(name, bottom, n, kernel, stride, pad, more="bias_term: false")
        + layer(
            "BatchNorm", f"{name}_bn", name, name, "batch_norm_param { use_global_stats: true eps: 0.001 }"
        )
        + layer("Scale", f"{name}_scale", name, name, "scale_param { bias_term: true }")
        + relu(f"{name}_relu", name)
    )


def activated(name, bottom):
    """Normalisation, scale and ReLU of a blob that is needed as it is, too."""
    return (
        layer("BatchNorm", f"{name}_bn", bottom, settings="batch_norm_param { use_global_stats: true }")
        + layer("Scale", f"{name}_scale", f"{name}_bn", f"{name}_bn", "scale_param { bias_term: true }")
        + relu(f"{name}_relu", f"{name}_bn")
    )


def pool(name, bottom, kernel, stride, pad=0, kind="MAX", more=""):
    settings = f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} {more} }}"
    return layer("Pooling", name, bottom, settings=settings)


def product(name, bottom, n):
    return layer("InnerProduct", name, bottom, settings=f"inner_product_param {{ num_output: {n} }}")


def caffenet(width=1.0, size=227):
    def n(channels):
        return max(2, int(channels * width) // 2 * 2)

    lrn = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    return (
        head(10, 3, size, size)
        + conv("conv1", "data", n(96), 11, 4)
        + relu("relu1", "conv1")
        + pool("pool1", "conv1", 3, 2)
        + layer("LRN", "norm1", "pool1", settings=lrn)
        + conv("conv2", "norm1", n(256), 5, 1, 2, more="group: 2")
        + relu("relu2", "conv2")
        + pool("pool2", "conv2", 3, 2)
        + layer("LRN", "norm2", "pool2", settings=lrn)
        + conv("conv3", "norm2", n(384), 3, 1, 1)
        + relu("relu3", "conv3")
        + conv("conv4", "conv3", n(384), 3, 1, 1, more="group: 2")
        + relu("relu4", "conv4")
        + conv("conv5", "conv4", n(256), 3, 1, 1, more="group: 2")
        + relu("relu5", "conv5")
        + pool("pool5", "conv5", 3, 2)
        + product("fc6", "pool5", n(4096))
        + relu("relu6", "fc6")
        + layer("Dropout", "drop6", "fc6", "fc6", "dropout_param { dropout_ratio: 0.5 }")
        + product("fc7", "fc6", n(4096))
        + relu("relu7", "fc7")
        + layer("Dropout", "drop7", "fc7", "fc7", "dropout_param { dropout_ratio: 0.5 }")
        + product("fc8", "fc7", 1000)
        + layer("Softmax", "prob", "fc8")
    )


def resnet_v2(blocks, width=64, size=224):
    """Pre-activation residual blocks, named as in the published definitions."""
    text = head(1, 3, size, size) + normed("conv1", "data", width, 7, 2, 3) + pool("pool1", "conv1", 3, 2)
    before, number = "pool1", 0
    for stage, count in enumerate(blocks):
        n = width * 2**stage
        for block in range(count):
            number += 1
            name, stride = f"res{number}", 2 if stage and not block else 1
            given = before
            if number > 1:
                text += activated(name, before)
                given = f"{name}_bn"
            text += normed(f"{name}_conv1", given, n, 1) + normed(
                f"{name}_conv2", f"{name}_conv1", n, 3, stride, 1
            )
            text += conv(f"{name}_conv3", f"{name}_conv2", 4 * n, 1, more="bias_term: false")
            if not block:
                text += conv(f"{name}_match_conv", given, 4 * n, 1, stride, more="bias_term: false")
                before = f"{name}_match_conv"
            text += layer(
                "Eltwise",
                f"{name}_eletwise",
                f"{before} {name}_conv3",
                settings="eltwise_param { operation: SUM }",
            )
            before = f"{name}_eletwise"
    last = f"res{number + 1}"
    text += activated(last, before) + layer(
        "Pooling", "pool_ave", f"{last}_bn", settings="pooling_param { pool: AVE global_pooling: true }"
    )
    return text + product("classifier", "pool_ave", 1000) + layer("Softmax", "prob", "classifier")


def inception(width=1, size=71):
    """A stem, a block with an average pool and factorised kernels, a residual block, a reduction."""
    w = width
    text = (
        head(1, 3, size, size)
        + normed("conv1_3x3_s2", "data", 8 * w, 3, 2)
        + pool("stem_pool", "conv1_3x3_s2", 3, 2)
    )
    text += normed("stem_3x3_s2", "conv1_3x3_s2", 12 * w, 3, 2)
    text += layer("Concat", "stem_concat", "stem_pool stem_3x3_s2")
    text += normed("a1_1x1_2", "stem_concat", 8 * w, 1) + normed("a1_1x7_reduce", "stem_concat", 6 * w, 1)
    text += normed("a1_1x7", "a1_1x7_reduce", 6 * w, (1, 7), 1, (0, 3)) + normed(
        "a1_7x1", "a1_1x7", 8 * w, (7, 1), 1, (3, 0)
    )
    text += pool("a1_pool_ave", "stem_concat", 3, 1, 1, "AVE") + normed("a1_1x1", "a1_pool_ave", 4 * w, 1)
    text += layer("Concat", "a1_concat", "a1_1x1_2 a1_7x1 a1_1x1")
    text += conv("r1_up", "a1_concat", 20 * w, 1) + layer("Scale", "r1_up_scale", "r1_up", settings="")
    text += layer(
        "Eltwise", "r1_eltwise", "a1_concat r1_up_scale", settings="eltwise_param { coeff: 1 coeff: 0.17 }"
    )
    text += relu("r1_relu", "r1_eltwise")
    text += pool("reduction_a_pool", "r1_eltwise", 3, 2) + normed(
        "reduction_a_3x3", "r1_eltwise", 10 * w, 3, 2
    )
    text += layer("Concat", "reduction_a_concat", "reduction_a_3x3 reduction_a_pool")
    text += layer(
        "Pooling",
        "pool_ave",
        "reduction_a_concat",
        settings="pooling_param { pool: AVE global_pooling: true }",
    )
    text += layer("Dropout", "drop", "pool_ave", "pool_ave", "dropout_param { dropout_ratio: 0.2 }")
    return text + product("classifier", "pool_ave", 50) + layer("Softmax", "prob", "classifier")


def _block(name, bottom, *paths, join="concat"):
    """Paths side by side, joined. A path is its layers in order, NAME:CHANNELS:SIDES, with `/2` at a stride
    of 2 (and then no padding), or NAME:AVE, NAME:MAX of 3 x 3 places; the last may be two layers, A|B."""
    text, ends = "", []
    for path in paths:
        *before, last = path.split()
        given = bottom
        for step in before:
            added, given = _step(name, given, step)
            text += added
        for step in last.split("|"):
            added, end = _step(name, given, step)
            text += added
            ends.append(end)
    return text + layer("Concat", f"{name}_{join}" if join else name, " ".join(ends))


def _step(name, bottom, step):
    """(text, blob) of one layer of a path."""
    step, _, halved = step.partition("/")
    kind, n, *sides = step.split(":")
    stride, blob = (2 if halved else 1), f"{name}_{kind}"
    if not sides:
        return pool(blob, bottom, 3, stride, 0 if halved else 1, n), blob
    height, _, width = sides[0].partition("x")
    kernel = (int(height), int(width or height))
    pad = (0, 0) if halved else (kernel[0] // 2, kernel[1] // 2)
    return normed(blob, bottom, int(n), kernel, stride, pad), blob


def _stem(more):
    return (
        head(1, 3, 299, 299)
        + normed("conv1_3x3_s2", "data", 32, 3, 2)
        + normed("conv2_3x3_s1", "conv1_3x3_s2", 32, 3)
        + normed("conv3_3x3_s1", "conv2_3x3_s1", 64, 3, 1, 1)
        + more
    )


#: Of Inception-v3 and Inception-ResNet-v2.
_SECOND_STEM = (
    pool("pool1_3x3_s2", "conv3_3x3_s1", 3, 2)
    + normed("conv4_3x3_reduce", "pool1_3x3_s2", 80, 1)
    + normed("conv4_3x3", "conv4_3x3_reduce", 192, 3)
    + pool("pool2_3x3_s2", "conv4_3x3", 3, 2)
)


def _classified(before):
    text = layer(
        "Pooling", "pool_8x8_s1", before, settings="pooling_param { pool: AVE global_pooling: true }"
    )
    text += layer("Dropout", "drop", "pool_8x8_s1", settings="dropout_param { dropout_ratio: 0.2 }")
    return text + product("classifier", "drop", 1000) + layer("Softmax", "prob", "classifier")


def inception_v3():
    """Szegedy et al. 2016, without the auxiliary classifier."""
    text, before = _stem(_SECOND_STEM), "pool2_3x3_s2"
    for i, n in enumerate((32, 64, 64), 1):
        text += _block(
            f"inception_a{i}",
            before,
            "1x1:64:1",
            "5x5_reduce:48:1 5x5:64:5",
            "3x3_reduce:64:1 3x3_1:96:3 3x3_2:96:3",
            f"pool:AVE pool_proj:{n}:1",
            join="output",
        )
        before = f"inception_a{i}_output"
    text += _block(
        "reduction_a", before, "3x3:384:3/2", "3x3_2_reduce:64:1 3x3_2:96:3 3x3_3:96:3/2", "pool:MAX/2"
    )
    before = "reduction_a_concat"
    for i, n in enumerate((128, 160, 160, 192), 1):
        text += _block(
            f"inception_b{i}",
            before,
            "1x1_2:192:1",
            f"1x7_reduce:{n}:1 1x7:{n}:1x7 7x1:192:7x1",
            f"7x1_reduce:{n}:1 7x1_2:{n}:7x1 1x7_2:{n}:1x7 7x1_3:{n}:7x1 1x7_3:192:1x7",
            "pool_ave:AVE 1x1:192:1",
        )
        before = f"inception_b{i}_concat"
    text += _block(
        "reduction_b",
        before,
        "3x3_reduce:192:1 3x3:320:3/2",
        "1x7_reduce:192:1 1x7:192:1x7 7x1:192:7x1 3x3_2:192:3/2",
        "pool:MAX/2",
    )
    before = "reduction_b_concat"
    for i, kind in enumerate(("AVE", "MAX"), 1):  # as published for Caffe
        text += _block(
            f"inception_c{i}",
            before,
            "1x1_2:320:1",
            "1x3_reduce:384:1 1x3:384:1x3|3x1:384:3x1",
            "3x3_reduce:448:1 3x3:384:3 1x3_2:384:1x3|3x1_2:384:3x1",
            f"pool:{kind} 1x1:192:1",
        )
        before = f"inception_c{i}_concat"
    return text + _classified(before)


def inception_v4():
    """Szegedy et al. 2017, figure 9."""
    text = _stem(_block("inception_stem1", "conv3_3x3_s1", "pool:MAX/2", "3x3_s2:96:3/2", join=""))
    # Convolutions of 3 x 3 without padding.
    short = normed("inception_stem2_3x3_reduce", "inception_stem1", 64, 1)
    long = normed("inception_stem2_1x7_reduce", "inception_stem1", 64, 1)
    long += normed("inception_stem2_1x7", "inception_stem2_1x7_reduce", 64, (1, 7), 1, (0, 3))
    long += normed("inception_stem2_7x1", "inception_stem2_1x7", 64, (7, 1), 1, (3, 0))
    text += short + normed("inception_stem2_3x3", "inception_stem2_3x3_reduce", 96, 3)
    text += long + normed("inception_stem2_3x3_2", "inception_stem2_7x1", 96, 3)
    text += layer("Concat", "inception_stem2", "inception_stem2_3x3 inception_stem2_3x3_2")
    text += _block("inception_stem3", "inception_stem2", "3x3_s2:192:3/2", "pool:MAX/2", join="")
    before = "inception_stem3"
    for i in range(1, 5):
        text += _block(
            f"inception_a{i}",
            before,
            "1x1_2:96:1",
            "3x3_reduce:64:1 3x3:96:3",
            "3x3_2_reduce:64:1 3x3_2:96:3 3x3_3:96:3",
            "pool_ave:AVE 1x1:96:1",
        )
        before = f"inception_a{i}_concat"
    text += _block(
        "reduction_a", before, "3x3:384:3/2", "3x3_2_reduce:192:1 3x3_2:224:3 3x3_3:256:3/2", "pool:MAX/2"
    )
    before = "reduction_a_concat"
    for i in range(1, 8):
        text += _block(
            f"inception_b{i}",
            before,
            "1x1_2:384:1",
            "1x7_reduce:192:1 1x7:224:1x7 7x1:256:7x1",
            "7x1_reduce:192:1 7x1_2:192:7x1 1x7_2:224:1x7 7x1_3:224:7x1 1x7_3:256:1x7",
            "pool_ave:AVE 1x1:128:1",
        )
        before = f"inception_b{i}_concat"
    text += _block(
        "reduction_b",
        before,
        "3x3_reduce:192:1 3x3:192:3/2",
        "1x7_reduce:256:1 1x7:256:1x7 7x1:320:7x1 3x3_2:320:3/2",
        "pool:MAX/2",
    )
    before = "reduction_b_concat"
    for i in range(1, 4):
        text += _block(
            f"inception_c{i}",
            before,
            "1x1_2:256:1",
            "1x1_3:384:1 1x3:256:1x3|3x1:256:3x1",
            "1x1_4:384:1 3x1_2:448:3x1 1x3_2:512:1x3 1x3_3:256:1x3|3x1_3:256:3x1",
            "pool_ave:AVE 1x1:256:1",
        )
        before = f"inception_c{i}_concat"
    return text + _classified(before)


def inception_resnet_v2():
    """Szegedy et al. 2017, with the widths of their published model."""
    text = _stem(_SECOND_STEM) + _block(
        "stem",
        "pool2_3x3_s2",
        "1x1:96:1",
        "5x5_reduce:48:1 5x5:64:5",
        "3x3_reduce:64:1 3x3:96:3 3x3_2:96:3",
        "ave_pool:AVE 1x1_ave:64:1",
    )

    def residual(text, before, letter, count, n, share, *paths):
        for i in range(1, count + 1):
            name = f"inception_resnet_v2_{letter}{i}"
            text += _block(name, before, *paths) + conv(f"{name}_up", f"{name}_concat", n, 1)
            last = letter == "c" and i == count  # added as it is, and not rectified
            settings = "" if last else f"eltwise_param {{ operation: SUM coeff: 1 coeff: {share} }}"
            text += layer("Eltwise", f"{name}_residual_eltwise", f"{before} {name}_up", settings=settings)
            before = f"{name}_residual_eltwise"
            text += "" if last else relu(f"{before}_relu", before)
        return text, before

    text, before = residual(
        text,
        "stem_concat",
        "a",
        10,
        320,
        0.17,
        "1x1:32:1",
        "3x3_reduce:32:1 3x3:32:3",
        "3x3_2_reduce:32:1 3x3_2:48:3 3x3_3:64:3",
    )
    text += _block(
        "reduction_a", before, "3x3:384:3/2", "3x3_2_reduce:256:1 3x3_2:256:3 3x3_3:384:3/2", "pool:MAX/2"
    )
    text, before = residual(
        text,
        "reduction_a_concat",
        "b",
        20,
        1088,
        0.1,
        "1x1:192:1",
        "1x7_reduce:128:1 1x7:160:1x7 7x1:192:7x1",
    )
    text += _block(
        "reduction_b",
        before,
        "3x3_reduce:256:1 3x3:384:3/2",
        "3x3_2_reduce:256:1 3x3_2:288:3/2",
        "3x3_3_reduce:256:1 3x3_3:288:3 3x3_4:320:3/2",
        "pool:MAX/2",
    )
    text, before = residual(
        text,
        "reduction_b_concat",
        "c",
        10,
        2080,
        0.2,
        "1x1:192:1",
        "1x3_reduce:192:1 1x3:224:1x3 3x1:256:3x1",
    )
    return text + normed("conv6_1x1", before, 1536, 1) + _classified("conv6_1x1")


def densenet(blocks, growth=32, first=64, size=224):
    text = (
        head(1, 3, size, size)
        + conv("conv1", "data", first, 7, 2, 3, more="bias_term: false")
        + activated("conv1", "conv1")
    )
    text += pool("pool1", "conv1_bn", 3, 2, 1, more="ceil_mode: false")
    before, n = "pool1", first
    for stage, count in enumerate(blocks, 2):
        for block in range(1, count + 1):
            name = f"conv{stage}_{block}"
            text += activated(f"{name}/x1", before) + conv(
                f"{name}/x1", f"{name}/x1_bn", 4 * growth, 1, more="bias_term: false"
            )
            text += activated(f"{name}/x2", f"{name}/x1")
            text += conv(f"{name}/x2", f"{name}/x2_bn", growth, 3, 1, 1, more="bias_term: false")
            text += layer("Concat", f"concat_{stage}_{block}", f"{before} {name}/x2")
            before, n = f"concat_{stage}_{block}", n + growth
        text += activated(f"conv{stage}_blk", before)
        before = f"conv{stage}_blk_bn"
        if stage <= len(blocks):
            n //= 2
            text += conv(f"conv{stage}_blk", before, n, 1, more="bias_term: false") + pool(
                f"pool{stage}", f"conv{stage}_blk", 2, 2, 0, "AVE"
            )
            before = f"pool{stage}"
    text += layer("Pooling", "pool_last", before, settings="pooling_param { pool: AVE global_pooling: true }")
    return text + conv("fc", "pool_last", 1000, 1)


def deepsim(family, width=1.0):
    """The generators, as the published definitions have them."""

    def n(channels):
        return channels if channels == 3 else max(2, int(channels * width))

    def up(name, bottom, channels, slope=0.3):
        text = conv(name, bottom, n(channels), 4, 2, 1, kind="Deconvolution")
        return text + (relu(f"relu_{name}", name, slope) if slope is not None else "")

    def same(name, bottom, channels, kind="Deconvolution", kernel=3, pad=1, stride=1):
        return conv(name, bottom, n(channels), kernel, stride, pad, kind=kind) + relu(
            f"relu_{name}", name, 0.3
        )

    def end(bottom):
        text = conv("conv1_1", bottom, 3, 3, 1, 1) + layer("TanH", "tanh", "conv1_1", "conv1_1")
        return text + layer("Power", "out", "conv1_1", settings="power_param { scale: 255 }")

    if family == "fc6":
        dim, c = n(4096), n(256)
        text = head(1, dim).replace('"data"', '"feat"')
        for name, bottom in (("defc7", "feat"), ("defc6", "defc7"), ("defc5", "defc6")):
            text += product(name, bottom, 16 * c if name == "defc5" else dim) + relu(
                f"relu_{name}", name, 0.3
            )
        text += layer(
            "Reshape",
            "reshape",
            "defc5",
            settings=f"reshape_param {{ shape {{ dim: 0 dim: {c} dim: 4 dim: 4 }} }}",
        )
        text += (
            up("deconv5", "reshape", 256) + same("conv5_1", "deconv5", 512) + up("deconv4", "conv5_1", 256)
        )
        text += (
            same("conv4_1", "deconv4", 256) + up("deconv3", "conv4_1", 128) + same("conv3_1", "deconv3", 128)
        )
        return (
            text
            + up("deconv2", "conv3_1", 64)
            + up("deconv1", "deconv2", 32)
            + up("deconv0", "deconv1", 3, None)
        )
    if family == "conv4":
        text = head(1, n(384), 13, 13).replace('"data"', '"feat"')
        text += same("Rconv6", "feat", 384, "Convolution", pad=0) + same(
            "Rconv7", "Rconv6", 512, "Convolution", pad=0
        )
        text += same("Rconv8", "Rconv7", 512, "Convolution", 2, 0) + up("deconv5", "Rconv8", 256)
        text += (
            same("conv5_1", "deconv5", 256) + up("deconv4", "conv5_1", 128) + same("conv4_1", "deconv4", 128)
        )
        text += up("deconv3", "conv4_1", 128) + same("conv3_1", "deconv3", 128) + up("deconv2", "conv3_1", 64)
        return (
            text
            + same("conv2_1", "deconv2", 32, "Convolution")
            + up("deconv1", "conv2_1", 16)
            + end("deconv1")
        )
    text = head(1, n(96), 27, 27).replace('"data"', '"feat"')
    text += same("Rconv6", "feat", 128, "Convolution", 3, 2, 2) + same("Rconv7", "Rconv6", 128, "Convolution")
    text += same("Rconv8", "Rconv7", 128, "Convolution") + up("deconv4", "Rconv8", 128)
    text += same("conv4_1", "deconv4", 128, "Convolution") + up("deconv3", "conv4_1", 64)
    text += same("conv3_1", "deconv3", 64, "Convolution") + up("deconv2", "conv3_1", 32)
    return (
        text
        + same("conv2_1", "deconv2", 32, "Convolution")
        + up("deconv1", "conv2_1", 16, None)
        + end("deconv1")
    )
