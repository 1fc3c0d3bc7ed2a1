"""The methods that are shipped, in the order of tables."""

from lskd_cli.config import feature_methods as of_features
from lskd_cli.config import methods as of_logits
from lskd_cli.config.method import add_methods

add_methods(
    of_logits.VanillaMethod,
    of_features.FitNetMethod,
    of_features.ATMethod,
    of_features.NSTMethod,
    of_features.PKTMethod,
    of_features.KDSVDMethod,
    of_features.OFDMethod,
    of_features.RKDMethod,
    of_features.VIDMethod,
    of_features.SPMethod,
    of_features.CRDMethod,
    of_features.ReviewKDMethod,
    of_logits.KDMethod,
    of_logits.DKDMethod,
    of_logits.MLKDMethod,
    of_logits.CTKDMethod,
    of_logits.NormKDMethod,
    of_logits.TTMMethod,
    of_logits.WTTMMethod,
    of_logits.RLDMethod,
    of_logits.LumiNetMethod,
    of_logits.DISTMethod,
    of_features.GuidanceMethod,
)
