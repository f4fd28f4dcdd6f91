// What the user enters about the person: from the form to the fields of the API.

const LONGEST_AGO = 12; // months: no caution asks for more

/** Return the fields of the API; null where nothing was entered. */
export function told(form) {
  const value = (name) => new FormData(form).get(name) || null;
  const yesOrNo = (name) => ({ true: true, false: false })[value(name)] ?? null;
  const isotretinoin = value("isotretinoin");
  return {
    skin_type: value("skin_type") && Number(value("skin_type")),
    pregnant: yesOrNo("pregnant"),
    isotretinoin_months: isotretinoin === "stopped" ? monthsSince(form) ?? 0 : isotretinoin && Number(isotretinoin),
    active_acne: yesOrNo("active_acne"),
    keloid_history: yesOrNo("keloid_history"),
  };
}

/** Return the months since the last dose, or null where no such number stands there. */
function monthsSince(form) {
  const field = form.elements.months;
  return field.value !== "" && field.validity.valid ? Number(field.value) : null;
}

/** Return what is missing or wrong in the form as one line, and what is assumed meanwhile. */
export function incomplete(form) {
  const lacksMonths = form.elements.isotretinoin.value === "stopped" && monthsSince(form) === null;
  form.elements.months.setAttribute("aria-invalid", String(lacksMonths));
  return lacksMonths ? "Enter the months since the last dose, 0 or more. Until then isotretinoin counts as taken now." : "";
}

/** Return the entries in one line, to show while the form is closed. */
export function summary(person) {
  const parts = [
    person.skin_type && `skin type ${["I", "II", "III", "IV", "V", "VI"][person.skin_type - 1]}`,
    { true: "pregnant", false: "not pregnant" }[person.pregnant],
    person.isotretinoin_months !== null && isotretinoin(person.isotretinoin_months),
    { true: "active acne", false: "no active acne" }[person.active_acne],
    { true: "keloid history", false: "no keloid history" }[person.keloid_history],
  ].filter(Boolean);
  return parts.length ? `entered: ${parts.join(", ")}` : "nothing entered: cautions not checked";
}

function isotretinoin(months) {
  if (months === 0) return "isotretinoin now";
  return months >= LONGEST_AGO ? `no isotretinoin for ${months} months or more` : `isotretinoin ${months} months ago`;
}
