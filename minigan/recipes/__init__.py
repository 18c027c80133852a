"""One file a system: its two networks, its constants, its source.

A recipe is a frozen dataclass whose fields are the system's constants; every one can be set on
the command line or in a TOML file.
"""

from minigan.recipes.cdcgan_28 import CDCGAN28
from minigan.recipes.dcgan_28 import DCGAN28
from minigan.recipes.dcgan_64 import DCGAN64
from minigan.recipes.dcgan_256 import DCGAN256
from minigan.recipes.dcgan_upsample import DCGANUpsample
from minigan.recipes.mlp_2014 import MLP2014
from minigan.recipes.mlp_mnist import MLPMnist
from minigan.recipes.recipe import Recipe
from minigan.recipes.registry import RECIPES, recipe_class, register
from minigan.recipes.toolbox_mlp import ToolboxMLP
from minigan.recipes.wgan_gp_28 import WGANGP28

for _recipe in (MLPMnist, MLP2014, ToolboxMLP, DCGAN28, CDCGAN28, DCGAN64, DCGANUpsample, DCGAN256, WGANGP28):
    register(_recipe)
DEFAULT_RECIPE = MLPMnist.name

__all__ = [
    "CDCGAN28",
    "DCGAN28",
    "DCGAN64",
    "DCGAN256",
    "DEFAULT_RECIPE",
    "MLP2014",
    "RECIPES",
    "WGANGP28",
    "DCGANUpsample",
    "MLPMnist",
    "Recipe",
    "ToolboxMLP",
    "recipe_class",
    "register",
]
