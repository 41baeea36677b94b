"""Settings of a new user: an event of another service, one job, done. The smallest useful saga.

Shows lambdas as handlers, an answer as the saga's result, and ``on_unknown``: UserSettingsCreated
for a user we have not heard of is nothing to worry about.

| job | payload | answers |
|---|---|---|
| create-user-settings | userId, simulate | UserSettingsCreated {userId, theme, language} |
"""

from __future__ import annotations

from sagas import complete, define_saga, send

user_settings = (
    define_saga("user-settings-saga")
    .name("User settings")
    .description("Gives every new user the usual settings.")
    .topic("people")
    .state({"settings": None})
    .correlate("userId")
    .on_unknown("ignore")
    .on("UserRegistered", lambda saga, message: send("create-user-settings", message.payload))
    .on("UserSettingsCreated", lambda saga, message: complete(message.payload))
    .build()
)
