// What is told about the person, from the form to the fields of the API.

/** Return the fields of the API; null where nothing was told. */
export function told(form) {
  const value = (name) => new FormData(form).get(name) || null;
  const yesOrNo = (name) => ({ true: true, false: false })[value(name)] ?? null;
  const number = (name) => (value(name) === null || !form.elements[name].validity.valid ? null : Number(value(name)));
  const isotretinoin = value("isotretinoin");
  return {
    skin_type: number("skin_type"),
    pregnant: yesOrNo("pregnant"),
    isotretinoin_months: isotretinoin === "stopped" ? number("months") : isotretinoin && Number(isotretinoin),
    active_acne: yesOrNo("active_acne"),
    keloid_history: yesOrNo("keloid_history"),
  };
}

/** Return what is told as one line, so that it shows also where the form is closed. */
export function summary(person) {
  const parts = [
    person.skin_type && `skin type ${["I", "II", "III", "IV", "V", "VI"][person.skin_type - 1]}`,
    yes(person.pregnant, "pregnant"),
    person.isotretinoin_months !== null && isotretinoin(person.isotretinoin_months),
    yes(person.active_acne, "active acne"),
    yes(person.keloid_history, "keloid history"),
  ].filter(Boolean);
  return parts.length ? `told: ${parts.join(", ")}` : "nothing told, so no cautions";
}

function yes(value, name) {
  return value !== null && (value ? name : `not ${name}`).replace("not active acne", "no active acne").replace("not keloid", "no keloid");
}

function isotretinoin(months) {
  return months === 0 ? "isotretinoin now" : months >= 12 ? "no isotretinoin for 12 months" : `isotretinoin ${months} months ago`;
}
