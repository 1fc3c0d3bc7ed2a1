"""The search of ``lskd tune``: trials that Optuna proposes are students of joint runs."""
