"""The door to the operations: layers and losses call ``ops.NAME`` and never a module of functional/.

Here is the one place where a faster twin of an operation can be put behind its name. Today every
name is the plain version.
"""

from minigan.functional.activations import (
    elu,
    elu_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu_backward,
    scaled_tanh,
    scaled_tanh_backward,
    sigmoid,
    sigmoid_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from minigan.functional.batchnorm import (
    BatchNormCache,
    batchnorm,
    batchnorm_backward,
    batchnorm_inference,
    batchnorm_inference_backward,
    update_running_statistics,
)
from minigan.functional.conv import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from minigan.functional.dense import dense, dense_bias_grad, dense_input_grad, dense_weight_grad
from minigan.functional.dropout import draw_keep, dropout, dropout_backward
from minigan.functional.gan_losses import (
    discriminator_bce,
    discriminator_hinge,
    discriminator_least_squares,
    discriminator_wasserstein,
    generator_least_squares,
    generator_minimax,
    generator_non_saturating,
    generator_wasserstein,
)
from minigan.functional.losses import bce_with_logits, half_squared_error, mean_squares, softmax_cross_entropy
from minigan.functional.maxout import maxout, maxout_backward
from minigan.functional.patches import Geometry, add_patches, patches
from minigan.functional.pixel_shuffle import pixel_shuffle, pixel_unshuffle
from minigan.functional.pooling import (
    average_pool,
    average_pool_backward,
    global_average,
    global_average_backward,
    max_pool,
    max_pool_backward,
)
from minigan.functional.reshape import reshape, reshape_backward
from minigan.functional.upsample import (
    upsample_bilinear,
    upsample_bilinear_backward,
    upsample_nearest,
    upsample_nearest_backward,
)
