"""The mail server: it answers, with TLS where it has to, and takes the password. Nothing is sent."""

from admin.alerts.mail import MailNotTaken, greet
from admin.alerts.smtp_server import SmtpServer
from admin.doctor.finding import Check, Tell, note, ok, wrong

TIMEOUT_SECONDS = 4.0


def look_at_mail(server: SmtpServer | None, *, is_set_there: bool, tell: Tell) -> None:
    """`is_set_there`: whether the metergate that runs here has one that this shell has not."""
    if server is None:
        if is_set_there:
            do = "set METERGATE_SMTP_URL here, too, to have it looked at"
            tell(note(Check.MAIL, "the metergate that runs has a mail server that is not known here", do))
        else:
            tell(ok(Check.MAIL, "no mail server is set: invites and alerts go by other ways"))
        return
    about = f"{server.host}:{server.port}"
    try:
        greet(server, timeout_seconds=TIMEOUT_SECONDS)
    except MailNotTaken as fault:
        do = "start it, or set METERGATE_SMTP_URL right: alerts and letters wait, for three days"
        tell(wrong(Check.MAIL, f"it takes no mail: {fault}", do, about=about))
    else:
        how = "takes the user and password" if server.user else "answers"
        tell(ok(Check.MAIL, f"it {how}", about=about))
